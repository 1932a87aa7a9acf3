#!/usr/bin/env python3
"""peer_compare.py OURS.f32 PEER.txt LIMIT: the worst log-probability difference over the peer's
best ten ("id p log_p" lines).  Status 1 when it exceeds LIMIT."""
import array, math, sys

ours = array.array('f')
ours.frombytes(open(sys.argv[1], 'rb').read())
top = max(ours)
log_sum = top + math.log(math.fsum(math.exp(x - top) for x in ours))
worst, n = 0.0, 0
for line in open(sys.argv[2]):
    f = line.split()
    if len(f) == 3 and '.' in f[2]:
        worst = max(worst, abs(ours[int(f[0])] - log_sum - float(f[2])))
        n += 1
print(f'worst log-probability difference of the best {n}: {worst:.5f} (limit {sys.argv[3]})')
sys.exit(0 if n >= 10 and worst < float(sys.argv[3]) else 1)
