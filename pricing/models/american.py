"""American exercise by spectral collocation of the exercise boundary (Andersen, Lake and Offengenden 2016).

Everything is about a put of strike 1 on a spot s = exp(log_spot); a call is the put with spot and strike, rate and
yield exchanged (McDonald and Schroder 1998). Its value is the European one plus the early exercise premium

    int_0^tau [ r exp(-r t) N(-d-) - q s exp(-q t) N(-d+) ] dt,   d-+ = (ln(s/B(tau-t)) + (r-q) t)/(vol sqrt t) -+ ...

with B the exercise boundary (Kim 1990, eq. 5). The boundary is written B(u) = X exp(-y(u)) with its limit at expiry
X = min(1, r/q) and y(0) = 0, and H = y^2 is interpolated in sqrt(u) through Chebyshev nodes (the paper, section 4).

Two things differ from the paper. The equation solved is smooth pasting, dV/ds = -1 at s = B (its system A, eq. 4.4),
but with its first terms, which cancel each other, taken out by hand, and in logarithms:

    ln int exp(-r t) n(d-) (r - q B(u)) / (vol sqrt t) dt = ln B [ exp(-q tau) N(d+) + q int exp(-q t) N(d+) dt ].

And it is solved by Newton's method with the full Jacobian, which converges where the paper's fixed point of system A
does not, and whose inverse gives the exact derivatives of the boundary. The quadrature is Gauss-Legendre in the
angle f with u = tau sin(f)^2: sqrt(u) and sqrt(tau - u) are both smooth in f, unlike in the paper's variable.

Elementwise functions serve scalars and arrays. `solve`, `premium` and `premium_greeks` are for arrays; the numba
backend has the loops of its own around the same elementwise functions. Names: rate r, payout q, y_u and y at the
point u and at the node, shrink = exp(-y_u), root = sqrt(t/tau), deviation = vol sqrt(t).
"""

# The contract of a model in this folder, extended: besides the six columns this one takes the cost of carry per year.
CARRY = True

# accuracy: nodes, quadrature points of a node, of the premium, power of sqrt(u) taken out of H, power of the node
# variable s in sqrt(u) = s^power, Newton steps at most, step in y sqrt(u/tau) / (vol sqrt(tau)) that ends them.
SCHEMES = {
    "fast": (8, 7, 24, 0.4, 1, 20, 4e-3),
    "default": (28, 40, 160, 0.75, 1, 40, 1e-9),
    "accurate": (64, 80, 640, 1.0, 2, 80, 1e-10),
}
# The same for terms with `layer` below 1. There H is of the order of u ln(1/u), first with one factor and then with
# twice of it, so that H / sqrt(u)^power has a term s^(2 - power) ln s and its polynomial converges the faster the less
# is taken out. Taking out more keeps H positive next to 0 for terms that are wilder or further apart.
LAYER_SCHEMES = {"default": (28, 40, 160, 0.1, 1, 40, 1e-9), "accurate": (88, 64, 640, 0.1, 1, 80, 1e-10)}
LARGEST_LAYER_SPREAD = 1.5

# Up to here |r - q| sqrt(tau) / vol is resolved by the finest scheme.
LARGEST_DRIFT = 40.0

INVERSE_SQRT_TWO_PI = 0.3989422804014327
SMALLEST = 1e-300
LEAST_DISTANCE = 1e-30


def put_terms(xp, forward, strike, tau, discount, sign, carry):
    """rate, payout, log_spot and unit of the put of strike 1, of which the option is `unit` many; tau > 0."""
    own_rate = -xp.log(discount) / tau
    own_payout = own_rate - carry
    log_spot = xp.log_ratio(forward, strike) - carry * tau
    spot = forward * xp.exp(-carry * tau)
    call = sign > 0.0
    rate = xp.where(call, own_payout, own_rate)
    payout = xp.where(call, own_rate, own_payout)
    return rate, payout, xp.where(call, -log_spot, log_spot), xp.where(call, spot, strike)


def drift(xp, rate, payout, vol, tau):
    """|r - q| sqrt(tau) / vol: how far the forward moves, in deviations."""
    return xp.abs(rate - payout) * xp.sqrt(tau) / vol


def hardness(xp, rate, payout, vol, tau):
    """Above 1 where the boundary is steeper than a scheme resolves to the error stated for its accuracy."""
    earned = xp.maximum(xp.abs(rate), xp.abs(payout)) * tau
    return xp.maximum(0.5 * drift(xp, rate, payout, vol, tau), 5.0 * earned)


def layer(xp, rate, payout, vol, tau):
    """Below 1 where rate and yield are so close that the boundary has a layer next to expiry, or all of it is one.

    Where B falls from its limit by vol sqrt(u), the gain r - q B is made of r - q before u is about
    ((r - q) / (q vol))^2, and of q (1 - B) later: sqrt(u/tau) of that time, for usual hardness, and for a deviation
    to expiry up to `LARGEST_LAYER_SPREAD`.
    """
    spread = vol * xp.sqrt(tau)
    most = xp.maximum(rate, payout)
    # Rates below 0 have no such layer, and no division by them.
    share = xp.abs(rate - payout) / (xp.maximum(most, SMALLEST) * spread)
    return xp.maximum(xp.maximum(share, hardness(xp, rate, payout, vol, tau)), spread / LARGEST_LAYER_SPREAD)


def limit_at_expiry(xp, rate, payout):
    """X = min(1, r/q): the boundary just before expiry, in strikes."""
    above = payout > rate
    return xp.where(above, rate / xp.where(above, payout, 1.0), 1.0)


def perpetual_distance(xp, rate, payout, vol, limit):
    """ln(X / perpetual boundary), which y tends to as time goes on (Merton 1973)."""
    half = (rate - payout) / (vol * vol) - 0.5
    double_rate = 2.0 * rate / (vol * vol)
    root = xp.sqrt(half * half + double_rate)
    negative = half < 0.0
    power = xp.where(negative, -double_rate / xp.where(negative, root - half, 1.0), -half - root)
    return xp.log_ratio(limit, xp.maximum(power / (power - 1.0), SMALLEST))


def first_distance(xp, rate, payout, vol, time, perpetual):
    """A start for y, within a few per cent where rate > yield, else within 15 % for most terms.

    y = vol sqrt(t) sqrt(c + f ln(1 + 1/..)) has the form of the limits for short times (Evans, Kuske and Keller
    2002: 0.6388 vol sqrt(t) for rate < yield); the numbers are fitted to solved boundaries. Newton's method corrects
    them, so that they decide about its number of steps only.
    """
    spread = vol * xp.sqrt(time)
    earned = xp.maximum(rate, 0.0) * time
    pull = xp.maximum(rate - payout, 0.0) * xp.sqrt(time) / vol
    odds = 11.16 * pull * pull + 22.3 * earned * earned + 0.055 * earned * spread * spread
    away = xp.maximum(1.0 - rate / xp.maximum(xp.maximum(payout, rate), SMALLEST), 0.0) / spread
    fade = xp.exp(-xp.minimum(away * (1.4 + 0.32 * away), 700.0))
    ratio = xp.sqrt(0.41 + 0.81 * fade * xp.log(1.0 + 1.0 / xp.maximum(odds, SMALLEST)))
    return xp.maximum(xp.minimum(spread * ratio, perpetual), 1.0e-3 * spread)


def point_state(xp, rate, payout, time, deviation, y_u, y):
    """d-, d+, exp(-r t) n(d-), exp(-q t) n(d+), exp(-q t) N(d+), exp(-y_u), and gain, between two boundary points."""
    below = (y_u - y + (rate - payout) * time) / deviation - 0.5 * deviation
    above = below + deviation
    density = INVERSE_SQRT_TWO_PI * xp.exp(-rate * time - 0.5 * below * below)
    shrink = xp.exp(-y_u)
    share = xp.minimum(rate, payout)
    gain = density * ((rate - share) + share * (1.0 - shrink)) / deviation
    above_density = density * xp.exp(y - y_u)
    tail = above_density * xp.mills_ratio(xp.abs(above))
    cumulative = xp.where(above < 0.0, tail, xp.exp(-payout * time) - tail)
    return below, above, density, above_density, cumulative, shrink, gain


def point(xp, rate, payout, time, deviation, y_u, y):
    """Integrands of the equation at one point: gain, its slope, pay and cross.

    gain   exp(-r t) n(d-) (r - q B(u)) / deviation     slope   gain d- / deviation = -d gain/dy_u (the rest cancels)
    pay    q exp(-q t) N(d+)                            cross   q B(u) exp(-r t) n(d-) / deviation = -B d pay/dy
    """
    below, _, density, _, cumulative, shrink, gain = point_state(xp, rate, payout, time, deviation, y_u, y)
    cross = density * xp.minimum(rate, payout) * shrink / deviation
    return gain, gain * below / deviation, payout * cumulative, cross


def point_changes(xp, rate, payout, time, deviation, y_u, y):
    """gain by relative vol, rate and payout, then pay by the same, at a constant y, at one point."""
    below, above, density, above_density, cumulative, shrink, gain = point_state(
        xp, rate, payout, time, deviation, y_u, y
    )
    high = payout > rate
    reach = time / deviation
    height = density / deviation
    return (
        gain * (below * above - 1.0),
        height * xp.where(high, 1.0 - shrink, 1.0) - gain * (time + below * reach),
        gain * below * reach - height * xp.where(high, 0.0, shrink),
        -payout * above_density * below,
        payout * above_density * reach,
        cumulative * (1.0 - payout * time) - payout * above_density * reach,
    )


def ends(xp, rate, payout, limit, tau, deviation, y):
    """Terms of the equation at a node besides the integrals: exp(-q tau) N(d+), exp(-q tau) n(d+) and d-."""
    below = (xp.log(limit) - y + (rate - payout) * tau) / deviation - 0.5 * deviation
    above = below + deviation
    density = INVERSE_SQRT_TWO_PI * xp.exp(-payout * tau - 0.5 * above * above)
    tail = density * xp.mills_ratio(xp.abs(above))
    return xp.where(above < 0.0, tail, xp.exp(-payout * tau) - tail), density, below


def limit_changes(xp, rate, payout):
    """Derivatives of ln X by rate and by payout."""
    high = payout > rate
    return (
        xp.where(high, 1.0 / xp.where(high, rate, 1.0), 0.0),
        xp.where(high, -1.0 / xp.where(high, payout, 1.0), 0.0),
    )


def premium_state(xp, rate, payout, start, time, deviation, y_u, spot, limit):
    """d-, d+, exp(-r t) n(d-), B(u), exp(-r t) N(-d-) and s exp(-q t) N(-d+); start = ln(s/X)."""
    below = (start + y_u + (rate - payout) * time) / deviation - 0.5 * deviation
    above = below + deviation
    density = INVERSE_SQRT_TWO_PI * xp.exp(-rate * time - 0.5 * below * below)
    boundary = limit * xp.exp(-y_u)
    strike_tail = density * xp.mills_ratio(xp.abs(below))
    spot_tail = density * boundary * xp.mills_ratio(xp.abs(above))
    strike_part = xp.where(below > 0.0, strike_tail, xp.exp(-rate * time) - strike_tail)
    spot_part = xp.where(above > 0.0, spot_tail, spot * xp.exp(-payout * time) - spot_tail)
    return below, above, density, boundary, strike_part, spot_part


def premium_point(xp, rate, payout, start, time, deviation, y_u, spot, limit):
    """Integrand of the premium: exp(-r t) r N(-d-) - q s exp(-q t) N(-d+)."""
    _, _, _, _, strike_part, spot_part = premium_state(xp, rate, payout, start, time, deviation, y_u, spot, limit)
    return rate * strike_part - payout * spot_part


def premium_point_greeks(xp, rate, payout, start, time, deviation, y_u, spot, limit):
    """Integrands of the premium and of its derivatives, ten in all.

    premium; -s, s^2 and s^3 times its first three derivatives by spot; by relative vol, and -s times the derivative
    of that by spot; by rate; by payout, all at a constant y; what a move of y_u takes from the premium, and what it
    takes from -s times the first derivative.
    """
    below, above, density, boundary, strike_part, spot_part = premium_state(
        xp, rate, payout, start, time, deviation, y_u, spot, limit
    )
    share = xp.minimum(rate, payout)
    excess = (rate - share) + share * (1.0 - xp.exp(-y_u))
    kick = density * excess / deviation
    cross = payout * density * boundary / deviation
    steep = below / deviation
    second = kick * (1.0 + steep) + cross
    third = -2.0 * second - kick * steep * (1.0 + steep) + kick / (deviation * deviation) - cross * steep
    limit_rate, limit_payout = limit_changes(xp, rate, payout)
    return (
        rate * strike_part - payout * spot_part,
        kick + payout * spot_part,
        second,
        third,
        density * (excess * below + rate * deviation),
        kick * (below * above - 1.0) + cross * deviation * below,
        strike_part * (1.0 - rate * time) - kick * (time - limit_rate),
        kick * (time + limit_payout) - spot_part * (1.0 - payout * time),
        kick,
        kick * steep,
    )


def balance(xp, payout, boundary, cumulative, steep, sums):
    """Both sides of the equation at a node and the derivative of their log ratio by the node's own y.

    sums are the integrals of gain, slope, pay and cross. Pay of a negative yield stands on the side of the gain, so
    that both sides are positive whatever the boundary.
    """
    gain, slope, pay, cross = sums
    negative = payout < 0.0
    total = gain - xp.where(negative, boundary * pay, 0.0)
    paid = xp.maximum(boundary * (cumulative + xp.where(negative, 0.0, pay)), SMALLEST)
    own_total = slope + xp.where(negative, boundary * pay + cross, 0.0)
    own_paid = boundary * steep + xp.where(negative, 0.0, cross)
    return total, paid, own_total / total + 1.0 + own_paid / paid


def newton_system(xp, terms, y, scheme):
    """Residual (G,n) and Jacobian (G,n,n) of the equation of G contracts; terms are (G,) rate, payout, vol, tau."""
    rate, payout, vol, tau = (term[:, None] for term in terms)
    limit = limit_at_expiry(xp, rate, payout)
    node_tau = tau * scheme.node**2
    node_deviation = vol * xp.sqrt(node_tau)
    places, weight, y_u = _points(xp, vol, tau, y, scheme)
    time, deviation = places
    gain, slope, pay, cross = point(xp, rate[:, :, None], payout[:, :, None], time, deviation, y_u, y[:, :, None])
    cumulative, density, _ = ends(xp, rate, payout, limit, node_tau, node_deviation, y)
    boundary = limit * xp.exp(-y)
    total, paid, own = balance(
        xp,
        payout,
        boundary,
        cumulative,
        density / node_deviation,
        tuple((weight * part).sum(-1) for part in (gain, slope, pay, cross)),
    )
    n = len(scheme.node)
    points = scheme.basis.reshape(n, n, -1).transpose(1, 2, 0)
    coupled = ((-weight * slope / y_u / total[:, :, None])[:, :, None, :] @ points)[:, :, 0, :] * y[:, None, :]
    return xp.log(total / paid), coupled + own[:, :, None] * (scheme.node[:, None] == scheme.node)


def newton_step(xp, solve, terms, y, scheme):
    """The next y (G,n) and whether the step was small enough to end, (G,); solve(matrices, columns) of the library."""
    residual, jacobian = newton_system(xp, terms, y, scheme)
    moved = y - solve(jacobian, residual[:, :, None])[:, :, 0]
    # The comparisons are false for NaN, so that a failed step becomes a short one.
    following = xp.where(moved > 0.3 * y, xp.where(moved < 3.0 * y, moved, 3.0 * y), 0.3 * y)
    spread = (terms[2] * xp.sqrt(terms[3]))[:, None]
    return following, (xp.abs(following - y) * scheme.node <= scheme.tolerance * spread).all(-1)


def boundary_start(xp, terms, scheme):
    """The y (G,n) that Newton's method starts from."""
    rate, payout, vol, tau = (term[:, None] for term in terms)
    perpetual = perpetual_distance(xp, rate, payout, vol, limit_at_expiry(xp, rate, payout))
    return first_distance(xp, rate, payout, vol, tau * scheme.node**2, perpetual)


def boundary_changes(xp, solve, terms, y, scheme):
    """Derivatives of y by relative vol, rate and payout, (G,n) each: -inverse Jacobian times the residual's."""
    rate, payout, vol, tau = (term[:, None] for term in terms)
    limit = limit_at_expiry(xp, rate, payout)
    node_tau = tau * scheme.node**2
    deviation = vol * xp.sqrt(node_tau)
    places, weight, y_u = _points(xp, vol, tau, y, scheme)
    here = (rate[:, :, None], payout[:, :, None], *places, y_u, y[:, :, None])
    parts = tuple((weight * part).sum(-1) for part in point(xp, *here))
    changes = [(weight * change).sum(-1) for change in point_changes(xp, *here)]
    cumulative, density, below = ends(xp, rate, payout, limit, node_tau, deviation, y)
    boundary = limit * xp.exp(-y)
    total, _, _ = balance(xp, payout, boundary, cumulative, density / deviation, parts)
    limit_rate, limit_payout = limit_changes(xp, rate, payout)
    # At the solution both sides are equal, so one of them divides all.
    paid_rate = changes[4] + density * (node_tau + limit_rate) / deviation
    paid_payout = changes[5] - node_tau * cumulative + density * (limit_payout - node_tau) / deviation
    by_vol = (changes[0] - boundary * (changes[3] - density * below)) / total
    by_rate = (changes[1] - boundary * paid_rate) / total - limit_rate
    by_payout = (changes[2] - boundary * paid_payout) / total - limit_payout
    _, jacobian = newton_system(xp, terms, y, scheme)
    return tuple(-solve(jacobian, change[:, :, None])[:, :, 0] for change in (by_vol, by_rate, by_payout))


def premium(xp, terms, log_spot, y, scheme):
    """Early exercise premium of R puts of strike 1; terms and log_spot are (R,), y (R,n)."""
    y_u = xp.sqrt(xp.maximum((y * y) @ scheme.premium_basis, LEAST_DISTANCE))
    here = _premium_arguments(xp, terms, log_spot, scheme.premium_root, y_u)
    return (terms[3][:, None] * scheme.premium_weight * premium_point(xp, *here)).sum(-1)


def premium_greeks(xp, terms, log_spot, y, y_changes, scheme):
    """Premium and its derivatives, (R,) each; y_changes are the three of `boundary_changes`, (R,n) each.

    premium; by spot: first, second, third; by vol; by vol and spot; by rate, by payout at a constant spot.
    """
    y_u = xp.sqrt(xp.maximum((y * y) @ scheme.premium_basis, LEAST_DISTANCE))
    moves = tuple(((2.0 * y * change) @ scheme.premium_basis) / (2.0 * y_u) for change in y_changes)
    return premium_greeks_of_points(xp, terms, log_spot, scheme.premium_root, scheme.premium_weight, y_u, moves)


def premium_greeks_of_points(xp, terms, log_spot, root, weight, y_u, moves):
    """`premium_greeks` by the points root = sqrt(t/tau) with weights of dt/tau, (p,) or (R,p); y_u, moves (R,p)."""
    here = _premium_arguments(xp, terms, log_spot, root, y_u)
    weight = terms[3][:, None] * weight
    terms_here = premium_point_greeks(xp, *here)
    kick, kick_steep = weight * terms_here[8], weight * terms_here[9]
    sums = [(weight * term).sum(-1) for term in terms_here[:8]]
    by_vol = sums[4] - (kick * moves[0]).sum(-1)
    by_vol_spot = sums[5] - (kick_steep * moves[0]).sum(-1)
    by_rate, by_payout = (sums[6 + k] - (kick * moves[1 + k]).sum(-1) for k in (0, 1))
    spot, vol = xp.exp(log_spot), terms[2]
    return (
        sums[0],
        -sums[1] / spot,
        sums[2] / spot**2,
        sums[3] / spot**3,
        by_vol / vol,
        -by_vol_spot / (spot * vol),
        by_rate,
        by_payout,
    )


def _premium_arguments(xp, terms, log_spot, root, y_u):
    """Arguments of `premium_point` at the points root = sqrt(t/tau), (p,) or (R,p), where y is y_u (R,p)."""
    rate, payout, vol, tau, start = (term[:, None] for term in (*terms, log_spot))
    limit = limit_at_expiry(xp, rate, payout)
    time, deviation = tau * root**2, vol * xp.sqrt(tau) * root
    return rate, payout, start - xp.log(limit), time, deviation, y_u, xp.exp(start), limit


def _points(xp, vol, tau, y, scheme):
    """time and deviation (G,n,l), weight (G,n,l), and y at the points (G,n,l)."""
    node_tau = (tau * scheme.node**2)[:, :, None]
    deviation = vol[:, :, None] * xp.sqrt(node_tau) * scheme.root
    distance = ((y * y) @ scheme.basis).reshape(deviation.shape)
    y_u = xp.sqrt(xp.maximum(distance, LEAST_DISTANCE))
    return (node_tau * scheme.root**2, deviation), node_tau * scheme.weight, y_u
