/* What Python has learned of the machines: states, events, transitions, programs, local transactions (simtx/engine/learn.py). */

static void free_learned(Learned *learned) {
  void *all[] = {learned->table, learned->is_initial, learned->event_node, learned->event_sender, learned->state_ids, learned->delivery, learned->courier, learned->transition,
                 learned->program, learned->operation, learned->template, learned->number, learned->claim};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

/* Take from an engine what it has learned, for another one; it cannot play any more. */
EXPORT Learned *engine_take_learned(Engine *E) {
  Learned *learned = malloc(sizeof *learned);
  if (!learned) return NULL;
  *learned = E->learned;
  memset(&E->learned, 0, sizeof E->learned);
  return learned;
}

/* Give it to an engine that has not begun. */
EXPORT void engine_give_learned(Engine *E, Learned *learned) {
  free_learned(&E->learned);
  E->learned = *learned;
  free(learned);
  for (int i = 0; i < E->learned.transitions; i++) E->learned.transition[i].taken = 0;
  while (E->row_room < E->learned.row_keys) E->row_room *= 2;
}

EXPORT void engine_forget_learned(Learned *learned) {
  free_learned(learned);
  free(learned);
}

static void resize_table(Engine *E, int states, int events) {
  int32_t *table = borrow(E, (size_t)states * (size_t)events * sizeof(int32_t));
  for (int64_t i = 0; i < (int64_t)states * events; i++) table[i] = -1;
  for (int i = 0; i < E->learned.states; i++)
    if (E->learned.event_room) memcpy(table + (int64_t)i * events, E->learned.table + (int64_t)i * E->learned.event_room, (size_t)E->learned.event_room * sizeof(int32_t));
  free(E->learned.table);
  E->learned.table = table;
  int32_t were = E->learned.state_room, had = E->learned.event_room;
  RESERVE(E, E->learned.state_ids, were, states);
  RESERVE(E, E->learned.delivery, had, events);
  RESERVE(E, E->learned.courier, had, events);
  RESERVE(E, E->learned.is_initial, were, states);
  RESERVE(E, E->learned.event_node, had, events);
  RESERVE(E, E->learned.event_sender, had, events);
  E->learned.state_room = states;
  E->learned.event_room = events;
}

EXPORT int engine_state(Engine *E, int is_initial, int ids) {
  GUARD(E, -1)
  if (E->learned.states == E->learned.state_room) resize_table(E, E->learned.state_room ? 2 * E->learned.state_room : 128, E->learned.event_room ? E->learned.event_room : 128);
  E->learned.is_initial[E->learned.states] = (uint8_t)is_initial;
  E->learned.state_ids[E->learned.states] = ids;
  return E->learned.states++;
}

/* Another event: of a message, from which node to which; else -1 each. */
EXPORT int engine_event(Engine *E, int node, int sender) {
  GUARD(E, -1)
  if (E->learned.events == E->learned.event_room) resize_table(E, E->learned.state_room ? E->learned.state_room : 128, E->learned.event_room ? 2 * E->learned.event_room : 128);
  E->learned.event_node[E->learned.events] = node;
  E->learned.event_sender[E->learned.events] = sender;
  for (int i = 0; i <= IDS; i++) E->learned.delivery[E->learned.events][i] = -1;
  E->learned.courier[E->learned.events] = -1;
  return E->learned.events++;
}

EXPORT void engine_initial(Engine *E, int node, int state) { E->node[node].initial = state; }
EXPORT void engine_timer(Engine *E, int kind, int event) { E->learned.timer_event[kind] = event; }

EXPORT int engine_number(Engine *E, double number) {
  GUARD(E, -1)
  GROW(E->learned.number, E->learned.numbers, E->learned.number_room, 1)
  E->learned.number[E->learned.numbers] = number;
  return E->learned.numbers++;
}

EXPORT int engine_program(Engine *E, int op, int a, int b, int c, uint32_t aimed) {
  GUARD(E, -1)
  GROW(E->learned.program, E->learned.programs, E->learned.program_room, 1)
  E->learned.program[E->learned.programs] = (Effect){op, a, b, c, aimed};
  return E->learned.programs++;
}

/* What a machine does when it recovers: a transition from nowhere. */
EXPORT int engine_recovery(Engine *E, int next, int start, int end) {
  GUARD(E, -1)
  GROW(E->learned.transition, E->learned.transitions, E->learned.transition_room, 1)
  E->learned.transition[E->learned.transitions] = (Transition){.state = next, .start = start, .end = end};
  return E->learned.transitions++;
}

EXPORT int engine_transition(Engine *E, int state, int event, int next, int start, int end, int ids, const int32_t *id) {
  GUARD(E, -1)
  GROW(E->learned.transition, E->learned.transitions, E->learned.transition_room, 1)
  E->learned.transition[E->learned.transitions] = (Transition){.state = next, .start = start, .end = end, .ids = ids};
  for (int i = 0; i < ids && i < IDS; i++) E->learned.transition[E->learned.transitions].id[i] = id[i];
  if (state < 0 || state >= E->learned.states || event < 0 || event >= E->learned.events || next < 0 || next >= E->learned.states || end > E->learned.programs) return -1;
  E->learned.table[(int64_t)state * E->learned.event_room + event] = E->learned.transitions;
  return E->learned.transitions++;
}

/* How many transitions were taken once, twice and never in this run. */
EXPORT void engine_rare(Engine *E, int32_t *once, int32_t *twice, int32_t *never) {
  *once = *twice = *never = 0;
  for (int i = 0; i < E->learned.transitions; i++) {
    int64_t taken = E->learned.transition[i].taken;
    *once += taken == 1;
    *twice += taken == 2;
    *never += taken == 0;
  }
}

EXPORT int64_t engine_taken(Engine *E, int transition) { return E->learned.transition[transition].taken; }

EXPORT int engine_operation(Engine *E, int kind, int key, int amount, int has_low, double low, int has_high, double high) {
  GUARD(E, -1)
  GROW(E->learned.operation, E->learned.operations, E->learned.operation_room, 1)
  E->learned.operation[E->learned.operations] = (Operation){kind, key, amount, has_low, has_high, low, high};
  return E->learned.operations++;
}

EXPORT int engine_template(Engine *E, const Template *template) {
  GUARD(E, -1)
  GROW(E->learned.template, E->learned.templates, E->learned.template_room, 1)
  E->learned.template[E->learned.templates] = *template;
  for (int i = 0; i < 64; i++) E->learned.template[E->learned.templates].on_duplicate[i] = -1;
  return E->learned.templates++;
}
EXPORT void engine_on_duplicate(Engine *E, int template, int value, int event) { E->learned.template[template].on_duplicate[value] = event; }

/* Another idempotency key: its number among the rows of a transaction. */
EXPORT int engine_row_key(Engine *E) {
  GUARD(E, -1)
  if (E->learned.row_keys == E->row_room) {
    int room = 2 * E->row_room;
    size_t size = (size_t)(E->tx_room ? E->tx_room : 1) * (size_t)room * sizeof(uint32_t);
    uint32_t *rows = memset(reserve(E, NULL, size / 2, size), 0, size); /* the old ones, half as many, are freed below */
    for (int64_t tx = 0; tx < E->head.asked; tx++)
      memcpy(rows + tx * room, E->rows + tx * E->row_room, (size_t)E->row_room * sizeof(uint32_t));
    free(E->rows);
    E->rows = rows;
    E->row_room = room;
  }
  return E->learned.row_keys++;
}

/* An event says this of a step. */
EXPORT void engine_claim(Engine *E, int event, int what, int step) {
  GUARD(E, )
  if (event >= E->learned.claim_room) {
    int room = 2 * event + 64;
    RESERVE(E, E->learned.claim, E->learned.claim_room, room);
    memset(E->learned.claim + E->learned.claim_room, 0, (size_t)(room - E->learned.claim_room) * sizeof(int32_t));
    E->learned.claim_room = room;
  }
  E->learned.claim[event] = what * STEPS + step + 1;
}
