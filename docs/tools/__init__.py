"""What makes the documentation: tables from code, the link check, the site."""
