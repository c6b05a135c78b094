"""Dead letters for the people who look after Weir: find them, look at them, put them back."""
