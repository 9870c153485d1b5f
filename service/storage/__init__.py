"""What the service keeps: recent results, feedback, operating points and jobs, in SQLite or PostgreSQL."""
