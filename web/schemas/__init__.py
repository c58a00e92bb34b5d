"""What goes out, and what comes in beside jobs, as marshmallow schemas."""
