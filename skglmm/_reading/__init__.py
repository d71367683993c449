"""What the user wrote becomes numbers; every message about input is worded here."""
