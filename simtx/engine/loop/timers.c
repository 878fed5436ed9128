/* Timers: simtx.simulator.timers. Those of one delay are a lane: a queue with one entry in the heap. */

static void notify(Engine *E, RunningMachine *actor, int32_t event, int64_t id);
static void time_out(Engine *E, Publication *publication);
static void redeliver(Engine *E, Parcel *parcel);
static void relay_told(Engine *E, RunningMachine *actor, int64_t tx, int32_t event);

/* A timer of a machine is due. */
static void ring_machine(Engine *E, Token *token) {
  RunningMachine *actor = token->owner;
  if (!actor) { free_token(E, token); return; }
  if (E->process[actor->node].host) { /* it is looked at when the process gets to it; until then it can be cancelled, or be set anew, which makes another token */
    token->seen = INFINITY;
    takes_time(E, actor->node, (Waiting){.kind = RING, .thing = token});
    return;
  }
  ring_now(E, token);
}

/* Likewise, and its process has had the time for it. */
static void ring_now(Engine *E, Token *token) {
  RunningMachine *actor = token->owner;
  int kind = token->kind;
  if (!actor) { free_token(E, token); return; }
  if (wait(E, actor->node, (Waiting){.kind = RING, .thing = token})) return;
  free_token(E, token);
  actor->timer[kind] = NULL;
  actor->timers--;
  if (actor->is_relay) relay_told(E, actor, -1, E->learned.timer_event[kind]);
  else notify(E, actor, E->learned.timer_event[kind], -1);
}

/* The time at which a timer is due, to the last bit. Most timers are stopped before, so that jitter is drawn when it is asked for: whenever that
 * is, it is the same number. */
static double due(Engine *E, Token *token) {
  Jitter *jitter = &token->jitter;
  if (jitter->width != 0.0) {
    token->due += number(E, jitter->stream, jitter->tx, jitter->k) * jitter->width * jitter->factor;
    jitter->width = 0.0;
  }
  return token->due;
}

static void ring(Engine *E, Token *token) {
  double now = E->head.now;
  if (!token->owner) { free_token(E, token); return; }
  if (due(E, token) > now) {
    token->seen = token->due;
    push(E, token->due, NORMAL, RING, token, 0);
    return;
  }
  if (token->kind >= 0) { ring_machine(E, token); return; }
  int kind = token->kind;
  void *owner = token->owner;
  free_token(E, token);
  if (kind == PUBLISH_TIMEOUT) time_out(E, owner);
  else redeliver(E, owner);
}

static void leave_lane(Token *token) {
  Lane *lane = token->lane;
  UNLINK(lane->head, lane->tail, token, before, next);
  token->lane = NULL;
}

/* Nobody wants it any more. Most timers are stopped, long before they are due: one that is in a lane is used again at once, so that few are in use. */
static void stop_timer(Engine *E, Token *token) {
  token->owner = NULL;
  if (!token->lane) return;
  leave_lane(token);
  free_token(E, token);
}

static void tick(Engine *E, Lane *lane) {
  while (lane->head) {
    Token *token = lane->head;
    if (token->seen > E->head.now) {
      push(E, token->seen, NORMAL, LANE, lane, 0);
      return;
    }
    leave_lane(token);
    ring(E, token);
  }
  lane->armed = 0;
}

static Lane *lane_of(Engine *E, double delay) {
  for (int i = 0; i < E->lanes; i++)
    if (E->lane[i]->delay == delay) return E->lane[i];
  if (E->lanes >= 1024) { fail(E, 5); return E->lane[0]; }
  Lane *lane = slab(E, sizeof(Lane));
  lane->delay = delay;
  return E->lane[E->lanes++] = lane;
}

static void start_timer(Engine *E, Token *token, double delay, Jitter jitter) {
  double seen = E->head.now + delay;
  token->due = seen;
  token->jitter = jitter;
  token->before = token->next = NULL;
  token->lane = NULL;
  if (delay == 0.0) {
    token->seen = due(E, token);
    push(E, token->due, NORMAL, RING, token, 0);
    return;
  }
  token->seen = seen;
  Lane *lane = lane_of(E, delay);
  token->lane = lane;
  token->before = lane->tail;
  ENQUEUE(lane->head, lane->tail, token, next);
  if (!lane->armed) {
    lane->armed = 1;
    push(E, seen, NORMAL, LANE, lane, 0);
  }
}

static void set_timer(Engine *E, RunningMachine *actor, int kind, double wait, double width) {
  Node *node = &E->node[actor->node];
  double factor = node->timer_factor, delay = wait * factor, earliest = E->head.now + delay;
  Jitter jitter = {width, factor, actor->tx, width != 0.0 ? take(E, node->jitter, actor->tx) : 0, node->jitter};
  Token *token = actor->timer[kind];
  if (token) { /* it goes on, if it is not looked at too late */
    Token later = {.due = earliest, .jitter = jitter};
    if (token->seen <= earliest || token->seen <= due(E, &later)) {
      token->due = later.due;
      token->jitter = later.jitter;
      return;
    }
    stop_timer(E, token);
    actor->timers--;
  }
  token = new_token(E);
  token->owner = actor;
  token->kind = kind;
  actor->timer[kind] = token;
  actor->timers++;
  start_timer(E, token, delay, jitter);
}

static void cancel_timer(Engine *E, RunningMachine *actor, int kind) {
  if (!actor->timer[kind]) return;
  stop_timer(E, actor->timer[kind]);
  actor->timer[kind] = NULL;
  actor->timers--;
}

static void cancel_timers(Engine *E, RunningMachine *actor) {
  if (!actor->timers) return;
  for (int i = 0; i < TIMERS; i++)
    if (actor->timer[i]) { stop_timer(E, actor->timer[i]); actor->timer[i] = NULL; }
  actor->timers = 0;
}
