"""What the launcher is made of; dermaspark.launcher and dermaspark.rank are its two doors."""
