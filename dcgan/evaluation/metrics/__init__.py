"""Features or losses to numbers: one metric a module, with its source and its uncertainty.

`frechet`, `kernel` and `manifold` compare two sets of features; `interval`, `floor` and
`resolution` say what such a number is worth; `balance` looks at the losses. `registry` lists what
is evaluated, recorded and shown.
"""
