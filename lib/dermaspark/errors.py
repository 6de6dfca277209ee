"""What a person did that can't be carried out, said in one line."""


class UserError(Exception):
    """A mistake in the input or the configuration.

    Its message is one line that names the file, key or row and what to do; a job prints it on stderr
    without a stack trace and exits with status 2.
    """
