"""`make demo`: the example shop under load with three ways of connecting to its database.

python -m examples.demo            measure and print the comparison
python -m examples.demo --site     leave the shop up to be looked at
"""
