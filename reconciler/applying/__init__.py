"""Running a plan's calls, and knowing at every moment what is done."""
