"""Coefficients of the rational Mills ratio, shared by the array libraries that have no erfcx.

M(x) = N(-x)/phi(x) on x >= 0 as P(x)/Q(x), degrees 9 and 10, lowest power first. All coefficients
are positive and the leading ones agree, so that x M(x) -> 1 far out. Largest relative error 1e-15.
"""

MILLS_NUMERATOR = (
    1.2533141373155001,
    1.943879065050336,
    1.4913126362066846,
    0.7268644431319952,
    0.2456213928223121,
    0.0594344365794112,
    0.01029753420834718,
    0.0012361173770932172,
    9.400260016784652e-05,
    3.5010894811645125e-06,
)
MILLS_DENOMINATOR = (
    1.0,
    2.3488756548744267,
    2.564026948029897,
    1.7172751251133334,
    0.783861892217183,
    0.2557309105603342,
    0.060663552183528924,
    0.010391536797936222,
    0.0012396184667608683,
    9.400260016587246e-05,
    3.501089481173921e-06,
)
