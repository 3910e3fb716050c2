"""From a plan's changes to the fewest Push API calls, as data."""
