"""What the plugin needs before its packages are there: only the standard library is used here."""
