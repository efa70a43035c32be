"""Coefficients of the rational Mills ratio and of what it leaves, shared by the array libraries.

On x >= 0, lowest power first and all positive, with M(x) = N(-x)/phi(x) and G(x) = 1 - x M(x), which is the
normal model's price per deviation and phi:

    M = MILLS_NUMERATOR / MILLS_DENOMINATOR,      G = MILLS_REST / MILLS_DENOMINATOR,

and x times the first polynomial plus the second is the third, so that neither is got by subtraction. Fitted by
exchange in 50 digits: the error of G is at most 2e-16 of G and 5e-17 of x M, up to x = 40 and in the limit beyond.
"""

MILLS_NUMERATOR = (
    1.2533141373155003,
    2.1654849962364193,
    1.847872198607083,
    1.0097171329624746,
    0.3881970862873172,
    0.10934473080285874,
    0.022844606122676567,
    0.003503990571113633,
    0.00037968361802781915,
    2.6499135857365283e-05,
    9.207082663822536e-07,
)
MILLS_REST = (
    1.0,
    1.2723774686346652,
    0.8241140391057439,
    0.3462361431486554,
    0.10260176090200095,
    0.022094445281700983,
    0.0034509923166249797,
    0.00037784220120242384,
    2.6499135860358626e-05,
    9.207082663684255e-07,
)
MILLS_DENOMINATOR = (
    1.0,
    2.5256916059501653,
    2.989599035342163,
    2.1941083417557383,
    1.1123188938644755,
    0.4102915315690182,
    0.11279572311948372,
    0.023222448323878993,
    0.003530489706973992,
    0.00038060432629418757,
    2.6499135857365283e-05,
    9.207082663822536e-07,
)
