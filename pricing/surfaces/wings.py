"""Raw SVI written by its wings, for least squares: smallest w, square roots of the wing slopes, m and sigma.

w(k) = v + P^2 (r - x) / 2 + Q^2 (r + x) / 2 - sigma P Q,   x = k - m,  r = sqrt(x^2 + sigma^2).

Every admissible slice is a point of a box in v > 0 and 0 <= P, Q <= sqrt(2), and w is a polynomial in P and Q.
"""

SMALLEST = 1.0e-300  # keeps a row of zeros regular


def total_variance_and_derivatives(xp, k, lowest, left, right, m, sigma):
    """w at log-moneyness k, and dw / d (P, Q, m, sigma); dw / dv is 1."""
    x = k - m
    root = xp.sqrt(x * x + sigma * sigma)
    inverse = 1.0 / root
    tilt = x * inverse
    steep_left, steep_right, cross = left * left, right * right, left * right
    w = lowest + 0.5 * (steep_left * (root - x) + steep_right * (root + x)) - sigma * cross
    by_left = left * (root - x) - sigma * right
    by_right = right * (root + x) - sigma * left
    by_m = 0.5 * (steep_left * (1.0 - tilt) - steep_right * (1.0 + tilt))
    by_sigma = 0.5 * (steep_left + steep_right) * sigma * inverse - cross
    return w, by_left, by_right, by_m, by_sigma


def add_to_box(xp, box, k, w):
    """(lowest k, highest k, lowest w, least |k|, w there) of the quotes so far and of one more."""
    k_low, k_high, w_low, nearest, at_the_money = box
    distance = xp.abs(k)
    at_the_money = xp.where(distance < nearest, w, at_the_money)
    return (
        xp.minimum(k_low, k),
        xp.maximum(k_high, k),
        xp.minimum(w_low, w),
        xp.minimum(nearest, distance),
        at_the_money,
    )


def add_to_cell(xp, sums, k, w, square, m, sigma, mean):
    """What the problem that is linear for given m and sigma needs of the quotes so far, and of one more.

    With the wings L = (r - x)/2, R = (r + x)/2 and the weight W of the squared error: the sums of W L, W R, W L^2,
    W L R, W R^2, W L (w - mean), W R (w - mean).
    """
    x = k - m
    root = xp.sqrt(x * x + sigma * sigma)
    left, right, error = 0.5 * (root - x), 0.5 * (root + x), w - mean
    by_left, by_right = square * left, square * right
    terms = by_left, by_right, by_left * left, by_left * right, by_right * right, by_left * error, by_right * error
    return tuple(total + term for total, term in zip(sums, terms, strict=True))


def centred_cell(xp, sums, total):
    """Means of both wings, then the sums of squares and products about the means, as `slopes_inside` takes them."""
    left_sum, right_sum, pp, pq, qq, p_target, q_target = sums
    left, right = left_sum / total, right_sum / total
    return left, right, (pp - left_sum * left, pq - left_sum * right, qq - right_sum * right, p_target, q_target)


def slopes_inside(xp, cell, steepest, regular):
    """Whether the least squares in the plane of p = P^2 and q = Q^2 have their minimum in [0, steepest]^2, p, q, value.

    The value is pp p^2 + 2 pq p q + qq q^2 - 2 (p_target p + q_target q); a determinant counts as positive above
    the share `regular` of pp qq.
    """
    pp, pq, qq, p_target, q_target = cell
    determinant = pp * qq - pq * pq
    sound = determinant > regular * pp * qq
    safe = xp.where(sound, determinant, 1.0)
    p, q = (p_target * qq - q_target * pq) / safe, (q_target * pp - p_target * pq) / safe
    return sound & (p >= 0.0) & (p <= steepest) & (q >= 0.0) & (q <= steepest), p, q, -p_target * p - q_target * q


def slopes_on_edges(xp, cell, steepest):
    """p, q and value of the best point on the four edges of [0, steepest]^2, where the plane has no minimum inside."""
    pp, pq, qq, p_target, q_target = cell

    def clipped(numerator, denominator):
        positive = denominator > 0.0
        quotient = numerator / xp.where(positive, denominator, 1.0)
        return xp.where(positive, xp.minimum(xp.maximum(quotient, 0.0), steepest), 0.0)

    best_p, best_q, best = None, None, None
    for edge in (0.0, steepest):
        for p, q in ((edge, clipped(q_target - pq * edge, qq)), (clipped(p_target - pq * edge, pp), edge)):
            value = pp * p * p + 2.0 * pq * p * q + qq * q * q - 2.0 * (p_target * p + q_target * q)
            if best is None:
                best_p, best_q, best = p, q, value
            else:
                lower = value < best
                best_p, best_q = xp.where(lower, p, best_p), xp.where(lower, q, best_q)
                best = xp.where(lower, value, best)
    return best_p, best_q, best


def wings_of_cell(xp, slopes, means, total, mean, floor, m, sigma):
    """The cost up to a constant and the five parameters for slopes p and q; smallest w is raised to the floor."""
    p, q, cost = slopes
    lowest = mean - p * means[0] - q * means[1] + sigma * xp.sqrt(p * q)
    lift = xp.maximum(floor - lowest, 0.0)
    return cost + total * lift * lift, (lowest + lift, xp.sqrt(p), xp.sqrt(q), m, sigma)


def add_to_system(xp, sums, k, w, square, point):
    """r'r, J'r (5) and the lower half of J'J (15) of the quotes so far at a point, and of one more."""
    value, *derivatives = total_variance_and_derivatives(xp, k, *point)
    error = value - w
    weighted = square * error
    terms = [weighted * error, weighted, *(weighted * derivative for derivative in derivatives)]
    # dw/dv is 1: the first column of each row is the weighted derivative itself.
    for row, scaled in enumerate((square, *(square * derivative for derivative in derivatives))):
        terms += [scaled, *(scaled * other for other in derivatives[:row])]
    return tuple(total + term for total, term in zip(sums, terms, strict=True))


def add_shortfall(xp, sums, k, square, margin, point):
    """The same sums with what Durrleman's g at log-moneyness k falls short of a margin; `square` weighs its square."""
    lowest, left, right, m, sigma = point
    w, by_left, by_right, by_m, by_sigma = total_variance_and_derivatives(xp, k, lowest, left, right, m, sigma)
    x = k - m
    inverse = 1.0 / xp.sqrt(x * x + sigma * sigma)
    tilt, square_inverse = x * inverse, inverse * inverse
    b = 0.5 * (left * left + right * right)
    curvature = sigma * sigma * square_inverse * inverse
    bend = b * curvature
    slope = 0.5 * (left * left * (tilt - 1.0) + right * right * (tilt + 1.0))
    inner = 1.0 - 0.5 * k * slope / w
    g = inner * inner - 0.25 * slope * slope * (1.0 / w + 0.25) + 0.5 * bend
    by_w = (inner * k * slope + 0.25 * slope * slope) / (w * w)
    by_slope = -inner * k / w - 0.5 * slope * (1.0 / w + 0.25)
    wide = b * inverse * (2.0 * sigma - 3.0 * sigma * sigma * sigma * square_inverse) * square_inverse
    gradient = (
        by_w,
        by_w * by_left + by_slope * left * (tilt - 1.0) + 0.5 * left * curvature,
        by_w * by_right + by_slope * right * (tilt + 1.0) + 0.5 * right * curvature,
        by_w * by_m - by_slope * bend + 1.5 * x * bend * square_inverse,
        by_w * by_sigma - by_slope * b * tilt * sigma * square_inverse + 0.5 * wide,
    )
    short = g < margin
    weight, error = xp.where(short, square, 0.0), xp.where(short, g - margin, 0.0)
    terms = [weight * error * error, *(weight * error * derivative for derivative in gradient)]
    for row, derivative in enumerate(gradient):
        terms += [weight * derivative * other for other in gradient[: row + 1]]
    return tuple(total + term for total, term in zip(sums, terms, strict=True))


def damped_step(xp, sums, damping, point, low, high):
    """Whether the damped normal equations are regular, and the point after their step, inside the box.

    A parameter at a bound that would leave it stays. By Cholesky, unrolled.
    """
    gradient, normal, numbers = sums[1:6], sums[6:], range(5)
    fixed = [
        ((point[i] <= low[i]) & (gradient[i] > 0.0)) | ((point[i] >= high[i]) & (gradient[i] < 0.0)) for i in numbers
    ]
    step = [xp.where(fixed[i], 0.0, -gradient[i]) for i in numbers]
    inverse, factor, regular = [1.0] * 5, [[0.0] * 5 for _ in numbers], damping > 0.0
    for i in numbers:
        diagonal = normal[i * (i + 3) // 2]
        rest = xp.where(fixed[i], 1.0, diagonal + damping * diagonal + SMALLEST)
        for j in range(i):
            value = xp.where(fixed[i] | fixed[j], 0.0, normal[i * (i + 1) // 2 + j])
            for n in range(j):
                value = value - factor[i][n] * factor[j][n]
            factor[i][j] = value * inverse[j]
            rest = rest - factor[i][j] * factor[i][j]
            step[i] = step[i] - factor[i][j] * step[j]
        regular = regular & (rest > 0.0)
        inverse[i] = 1.0 / xp.sqrt(xp.where(rest > 0.0, rest, 1.0))
        step[i] = step[i] * inverse[i]
    for i in reversed(numbers):
        for n in range(i + 1, 5):
            step[i] = step[i] - factor[n][i] * step[n]
        step[i] = step[i] * inverse[i]
    return regular, tuple(xp.minimum(xp.maximum(point[i] + step[i], low[i]), high[i]) for i in numbers)


def same_point(xp, point, known, share):
    """Whether two points are one minimum: no parameter further off than a share of it and of sigma."""
    near = known[4] > 0.0
    for here, there in zip(point, known, strict=True):
        near = near & (xp.abs(here - there) <= share * (xp.abs(there) + known[4]))
    return near
