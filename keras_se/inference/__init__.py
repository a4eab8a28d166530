"""Networks in their inference form."""
