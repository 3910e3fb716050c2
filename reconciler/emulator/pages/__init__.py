"""The content browser: pages for people, made of what is stored; it changes nothing and no client needs it."""
