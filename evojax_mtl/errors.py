"""What the user got wrong, told in one line."""


class UserError(Exception):
    """A wrong input: the command ends with this one line and exit status 2.

    The message names the field or file, what was found, and what is allowed.
    """
