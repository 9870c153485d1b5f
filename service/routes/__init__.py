"""HTTP: parse, submit, render; no arithmetic here."""
