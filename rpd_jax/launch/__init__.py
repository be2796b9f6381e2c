"""The programs: flags to a Config to one library call."""
