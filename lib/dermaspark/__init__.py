"""DermaSpark: photographs of skin lesions become a classifier and an honest report on it, on Spark."""
