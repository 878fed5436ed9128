/* The clients: simtx.simulator.clients. */

static RunningMachine *spawn(Engine *E, int64_t tx, int node);

static void ended(Engine *E) {
  if (!E->head.over) {
    E->head.over = 1;
    if (ASK(E, ended())) fail(E, 3);
  }
}

static void schedule(Engine *E) {
  if (E->arrival_at == E->arrival_count) {
    E->arrival_count = ASK(E, arrivals(E->arrival, AHEAD * PAGE));
    E->arrival_at = 0;
    if (E->arrival_count < 0) { fail(E, 3); return; }
    if (!E->arrival_count) { ended(E); return; }
  }
  double time = E->arrival[E->arrival_at++];
  if (!E->head.has_duration || time < E->head.duration) push(E, time, NORMAL, ARRIVE, NULL, 0);
}

static double bound(Engine *E, int attempt) { return E->bound[attempt < E->head.bounds ? attempt : E->head.bounds - 1]; }

static void unreached(Engine *E, Call *call) {
  Head *H = &E->head;
  Transaction *T = &E->tx[call->tx];
  if (T->answered == T->answered) return;
  double deadline = T->arrival + H->deadline;
  double wait = H->again ? bound(E, call->attempt) * draw(E, H->client_jitter, call->tx) : 0.0;
  if (H->again && H->now + wait < deadline) {
    if (!T->asking) { T->asking = 1; H->asking++; }
    call_in(E, wait, ASK_AGAIN, call, 0);
  } else {
    if (T->asking) { T->asking = 0; H->asking--; }
    push(E, deadline > H->now ? deadline : H->now, NORMAL, NO_ANSWER, call, 0);
  }
}

static void wait_for_answer(Engine *E, Call *call) {
  Head *H = &E->head;
  double wait = H->client_timeout + bound(E, call->attempt) * draw(E, H->client_jitter, call->tx);
  if (H->now + wait < E->tx[call->tx].arrival + H->deadline) call_in(E, wait, SILENCE, call, call->attempt);
}

static void request(Engine *E, int64_t tx) {
  int entry = E->head.entry;
  RunningMachine *actor = actor_of(E, tx, entry);
  notify(E, actor ? actor : spawn(E, tx, entry), E->head.request[E->tx[tx].shape], -1);
}

static void requested(Engine *E, int64_t tx) {
  int entry = E->head.entry;
  if (E->node[entry].up && !wait(E, entry, (Waiting){.kind = AT_THE_NODE, .tx = tx})) request(E, tx);
}

/* A request has met its node. */
static void begin_request(Engine *E, int64_t tx) {
  if (!takes_time(E, E->head.entry, (Waiting){.kind = AT_THE_NODE, .tx = tx})) requested(E, tx);
}

static void at_the_node(Engine *E, Call *call) {
  Head *H = &E->head;
  int64_t tx = call->tx;
  if (!E->node[call->entry].up) { unreached(E, call); return; }
  begin_request(E, tx);
  if (E->tx[tx].asking) { E->tx[tx].asking = 0; H->asking--; }
  if (!H->insists) free_call(E, call);
  else if (!H->remote) wait_for_answer(E, call);
}

static void call_leaves(Engine *E, Call *call) {
  Head *H = &E->head;
  if (!H->remote) { at_the_node(E, call); return; }
  Link *link = link_of(E, CLIENT, call->entry);
  if (!carry(E, link, AT_THE_NODE, call, 0, call->tx)) unreached(E, call);
  else if (H->insists) wait_for_answer(E, call);
}

/* Send a client's request on its way; on a host, it takes the time of the clients' process first. */
static void ask(Engine *E, Call *call) {
  if (!takes_time(E, CLIENT, (Waiting){.kind = CALL, .thing = call})) call_leaves(E, call);
}

/* A client does not ask again, as the budget of all is spent: it waits until its deadline. */
static void suppress(Engine *E, Call *call) {
  Head *H = &E->head;
  Transaction *T = &E->tx[call->tx];
  double deadline = T->arrival + H->deadline;
  H->suppressed++;
  if (!T->asking) return;
  T->asking = 0;
  H->asking--;
  push(E, deadline > H->now ? deadline : H->now, NORMAL, NO_ANSWER, call, 0);
}

static void ask_again(Engine *E, Call *call) {
  Head *H = &E->head;
  Transaction *T = &E->tx[call->tx];
  if (T->answered == T->answered) {
    if (T->asking) { T->asking = 0; H->asking--; }
    return;
  }
  if (H->has_budget) {
    if (H->budget_saved < 1 - 1e-9) { suppress(E, call); return; } /* the sum of ten tenths is a little less than one */
    H->budget_saved -= 1;
  }
  call->attempt++;
  H->repeated++;
  ask(E, call);
}

static void user_goes_on(Engine *E, int64_t tx) {
  Head *H = &E->head;
  if (H->closed_workload && !E->tx[tx].served) {
    E->tx[tx].served = 1;
    call_in(E, draw(E, H->thinking, tx), ARRIVE, NULL, 0);
  }
}

static void answered(Engine *E, int64_t tx, int outcome) {
  Head *H = &E->head;
  Transaction *T = &E->tx[tx];
  if (T->answer) {
    if (T->answer != outcome && T->answer <= ABORTED && outcome <= ABORTED) T->watch |= SPLIT;
    return;
  }
  if (!H->remote) {
    if (H->now - T->arrival <= H->deadline) {
      T->answer = (uint8_t)outcome;
      T->answered = H->now;
      user_goes_on(E, tx);
    }
  } else {
    T->answer = (uint8_t)outcome;
    call_in(E, draw(E, link_of(E, H->entry, CLIENT)->draw, tx), ANSWER_ARRIVES, NULL, tx);
  }
}

static void answer_arrives(Engine *E, int64_t tx) {
  Head *H = &E->head;
  if (H->now - E->tx[tx].arrival > H->deadline) return;
  if (!E->tx[tx].closed) E->tx[tx].answered = H->now;
  user_goes_on(E, tx);
}

static void lose_patience(Engine *E, int64_t tx) {
  if (E->tx[tx].served) E->tx[tx].served = 0;
  else user_goes_on(E, tx);
}

/* Room for how many transactions to take next: for all of them, if one knows how many there will be, and they are not very many. */
static int64_t more_room(Engine *E, int64_t was) {
  enum { MANY = 64 * PAGE };
  int64_t room = was ? 2 * was : PAGE, all = E->head.transactions;
  if (all > room && was < MANY) room = all < MANY ? all : MANY;
  return all > was && all < room ? all : room;
}

static void arrive(Engine *E) {
  Head *H = &E->head;
  if (H->over) return;
  int64_t tx = H->asked++;
  double now = H->now;
  if (tx / PAGE >= E->pages) {
    if (ASK(E, plan(tx / PAGE))) { fail(E, 3); return; }
  }
  if (tx >= E->tx_room) {
    int64_t was = E->tx_room, room = more_room(E, was);
    RESERVE(E, E->tx, was, room);
    RESERVE(E, E->actions, was * H->steps, room * H->steps);
    RESERVE(E, E->undone, was * H->steps, room * H->steps);
    if (H->has_broker) RESERVE(E, E->claims, was, room);
    RESERVE(E, E->residuals, was * (H->quantities + 1), room * (H->quantities + 1));
    RESERVE(E, E->order, was, room);
    RESERVE(E, E->rows, was * E->row_room, room * E->row_room);
    E->tx_room = room;
  }
  Transaction *T = &E->tx[tx];
  memset(T, 0, sizeof *T);
  memset(E->actions + tx * H->steps, 0, (size_t)H->steps * sizeof(int16_t));
  memset(E->undone + tx * H->steps, 0, (size_t)H->steps * sizeof(int16_t));
  if (E->claims) memset(E->claims + tx, 0, sizeof(Claims));
  memset(E->rows + tx * E->row_room, 0, (size_t)E->row_room * sizeof(uint32_t));
  for (int i = 0; i < H->quantities; i++) E->residuals[tx * H->quantities + i] = 0.0;
  T->arrival = T->last_activity = now;
  T->answered = T->decided = T->first_effect = T->last_effect = NAN;
  T->measured = now >= H->warmup;
  T->open = T->young = 1;
  T->shape = E->page[tx / PAGE].shapes[tx % PAGE];
  H->undecided++;
  H->unsettled++;
  if (now >= H->next_lighten) {
    lighten(E, now);
    if (now >= H->next_sweep) sweep(E, now);
  }
  if (H->has_budget) {
    double earned = H->budget_saved + H->budget_ratio;
    H->budget_saved = H->budget_burst < earned ? H->budget_burst : earned;
  }
  Call *call = new_call(E);
  call->tx = tx;
  call->attempt = 0;
  call->entry = H->entry;
  ask(E, call);
  if (H->closed_workload) call_in(E, H->deadline, LOSE_PATIENCE, NULL, tx);
  if (H->transactions == H->asked) ended(E);
  else if (!H->closed_workload) schedule(E);
}
