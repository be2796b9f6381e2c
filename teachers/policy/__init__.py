"""A saved student as teacher."""
