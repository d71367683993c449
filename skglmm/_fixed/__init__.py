"""What the fixed part may be: columns, models of scikit-learn or networks, and gaps."""
