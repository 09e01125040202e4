"""What is said to a person, and where: problems, their codes and pages, suggestions, wording."""
