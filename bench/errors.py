"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Bad input, said in one sentence: which key or file, what was found, what is allowed.

    The command lines print it as ``error: <sentence>`` without a traceback and exit with status 2.
    """
