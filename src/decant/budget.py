"""What int8 may cost where no study says otherwise. Not in `decant.study`: who only checks a file may lack pydantic."""

BUDGET_POINTS = 0.5  # of 100, of accuracy on val
