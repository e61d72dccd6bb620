"""What people see: tables, plans, studies, laid out for their terminal."""
