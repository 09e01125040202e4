"""The programs that drew the data of the demo model, trained it and measured it."""
