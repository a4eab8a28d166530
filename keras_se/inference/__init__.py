"""Networks in the form in which they are served."""
