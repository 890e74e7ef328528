"""What one HTTP rule of a VirtualService says: one file per field, each from the field to its traffic words."""
