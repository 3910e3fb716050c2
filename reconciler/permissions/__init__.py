"""Who can see what: the rules of push-api.md 3.6 as a readable definition, and a fast evaluation held against it."""
