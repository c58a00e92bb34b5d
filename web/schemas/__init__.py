"""What comes in and goes out, as marshmallow schemas: the one validation vocabulary here."""
