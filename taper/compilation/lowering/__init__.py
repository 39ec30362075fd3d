"""From a graph of NumPy calls to native instructions.

    values       what is computed, and how a use of it looks at it
    operations   maps, reductions, products, calls: what nodes are made of
    rules        how functions that aren't elementwise are taken apart
    index_rules  reads and writes of parts of arrays
    groups       which operations are computed together
    loops        the kernel of a group: its expression, its loops, its argument block
    products     products of matrices
    memory       where values that are stored lie
    schedule     the order of it all
"""
