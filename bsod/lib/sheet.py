"""What is written for a spreadsheet: texts that it must not take for formulas."""

# What one takes for the beginning of a formula, the wide forms included.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: whoever named a key does not compute on the
    machine of whoever opens the table."""
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
