"""The one error that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something the user can mend: what was wrong, where, what to do. Scripts print it and exit with 2."""
