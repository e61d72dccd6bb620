"""What a shell and `man` show of splitctl."""
