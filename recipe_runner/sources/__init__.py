"""Where weights come from: folders and files, and the Hub's cache on this machine."""
