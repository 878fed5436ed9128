/* Circuit breakers: simtx.protocols.breaker. */

static int allowed(Engine *E, int node, int to) {
  Breaker *breaker = &E->node[node].breaker[to];
  if (node == to || breaker->state == SHUT) return 1;
  if (E->head.now - breaker->since < E->head.cooldown) {
    E->head.held_back++;
    return 0;
  }
  breaker->state = HALF_OPEN;
  breaker->since = E->head.now;
  return 1;
}

static void call_succeeded(Engine *E, int node, int from) {
  Breaker *breaker = &E->node[node].breaker[from];
  if (breaker->state == OPEN) return;
  breaker->state = SHUT;
  breaker->failures = 0;
}

static void call_failed(Engine *E, int node, int to) {
  Breaker *breaker = &E->node[node].breaker[to];
  if (node == to || breaker->state == OPEN) return;
  breaker->failures++;
  if (breaker->state != HALF_OPEN && breaker->failures < E->head.threshold) return;
  breaker->state = OPEN;
  breaker->failures = 0;
  breaker->since = E->head.now;
}
