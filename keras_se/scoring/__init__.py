"""Scores of any number of pictures, in a table on disk: resumed after a kill, dealt to machines."""
