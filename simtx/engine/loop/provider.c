/* Providers outside, which do the steps of a service and share no local transaction with it: simtx.simulator.provider. */

/* --- what a provider knows ------------------------------------------------------------------------------------------------------------------ */

static Known **known_at(Engine *E, int64_t tx, int key) {
  uint64_t x = ((uint64_t)tx << 8 ^ (uint64_t)key) * 0x9E3779B97F4A7C15ull;
  Known **at = &E->known[(x ^ x >> 29) & ((uint64_t)E->known_room - 1)];
  while (*at && ((*at)->tx != tx || (*at)->key != key)) at = &(*at)->next;
  return at;
}

/* What is known of the request with this key; NULL: nothing. */
static Known *known_of(Engine *E, int64_t tx, int key) { return E->known_room ? *known_at(E, tx, key) : NULL; }

static void more_known(Engine *E) {
  Known **old = E->known;
  int64_t were = E->known_room, room = were ? 2 * were : 1024;
  E->known = memset(reserve(E, NULL, (size_t)were * sizeof(Known *), (size_t)room * sizeof(Known *)), 0, (size_t)room * sizeof(Known *));
  E->known_room = room;
  for (int64_t i = 0; i < were; i++)
    for (Known *one = old[i], *next; one; one = next) {
      next = one->next;
      one->next = NULL;
      *known_at(E, one->tx, one->key) = one;
    }
  free(old);
}

static Known *have_known(Engine *E, int64_t tx, int key) {
  enum { SOME = 256 };
  Known *known = known_of(E, tx, key);
  if (known) return known;
  if (E->knowns >= E->known_room) more_known(E);
  if (E->knowns++ % SOME == 0) E->known_slab = slab(E, SOME * sizeof(Known));
  known = E->known_slab++;
  *known = (Known){.tx = tx, .key = key, .template = -1};
  return *known_at(E, tx, key) = known;
}

/* What the provider knows of an earlier request, by its key or since it can be asked. */
static Known *recall(Engine *E, int number, int64_t tx, int key) {
  Provider *P = &E->node[number].provider;
  Known *known = known_of(E, tx, key);
  if (!known || !known->answer || P->status_query) return known && known->answer ? known : NULL;
  return P->remembers && E->head.now - known->since <= P->idempotency ? known : NULL;
}

/* --- on the side of the service ------------------------------------------------------------------------------------------------------------- */

static void call_provider(Engine *E, ProviderCall *asked);

/* Nobody goes on with it. */
static void let_asked(Engine *E, ProviderCall *asked) {
  if (asked->work) let_work(E, asked->work);
  free_asked(E, asked);
}

static void go_on_in(Engine *E, double delay, ProviderCall *asked, int step) {
  asked->step = step;
  call_in(E, delay, PROVIDED, asked, 0);
}

static void go_on_durable(Engine *E, ProviderCall *asked, int step) {
  asked->step = step;
  force(E, asked->node, make_flush(E, (Flush){.what = NOTED, .asked = asked}), asked->tx);
}

/* Run the part of the local transaction that is the service's own. */
static void write_own(Engine *E, Work *work) {
  number_rows(E, work);
  run_work(E, work);
}

static void write_asked(Engine *E, ProviderCall *asked) {
  write_own(E, asked->work);
  let_asked(E, asked);
}

static void fail_asked(Engine *E, ProviderCall *asked) {
  drop(E, asked->work, FAILURE);
  let_asked(E, asked);
}

/* An answer has come: write it down, with all that the local transaction was to write beside its work. */
static void conclude(Engine *E, ProviderCall *asked) {
  if (asked->answer == SAID_DONE) asked->work->no_operations = 1;
  else asked->work->refusing = 1;
  write_asked(E, asked);
}

/* The service has forced something that no machine has asked for. */
static void noted_down(Engine *E, ProviderCall *asked) {
  Transaction *T = record(E, asked->tx);
  if (T) T->forced++;
}

/* Force a note before the first request, if the provider can be asked about it; ask it before the second one. */
static void prepare_asked(Engine *E, ProviderCall *asked) {
  Node *node = &E->node[asked->node];
  int key = E->learned.template[asked->template].key;
  if (!node->provider.status_query || key < 0) {
    asked->since = E->head.now;
    call_provider(E, asked);
  } else if (!have_known(E, asked->tx, key)->noted) {
    go_on_durable(E, asked, NOTE);
  } else {
    Provider *P = &node->provider;
    P->counts[QUERIES]++;
    double latency = draw(E, P->latency, asked->tx) * P->factor * node->pool.factor;
    asked->since = E->head.now;
    if (P->up && latency <= P->timeout) go_on_in(E, latency, asked, TOLD);
    else go_on_in(E, P->timeout, asked, SILENT);
  }
}

/* An earlier request decides what there is to do: find out how it has ended. */
static void settle_asked(Engine *E, ProviderCall *asked, int about) {
  Node *node = &E->node[asked->node];
  Template *template = &E->learned.template[asked->template];
  if (about >= 0 && !row_of(E, node, asked->tx, about)) {
    if (!node->provider.up && (node->provider.status_query || node->provider.remembers)) { go_on_in(E, node->provider.timeout, asked, SILENT); return; }
    Known *known = recall(E, asked->node, asked->tx, about);
    if (known && known->answer == PENDING) { fail_asked(E, asked); return; }
    if (known) {
      asked->about = about;
      asked->answer = known->answer;
      asked->branch = known->template;
      go_on_durable(E, asked, ADOPT);
      return;
    }
  }
  int undoes = template->undoes >= 0 && row_of(E, node, asked->tx, template->undoes) == template->undone_if;
  if (template->count && undoes) prepare_asked(E, asked);
  else write_asked(E, asked);
}

/* What the provider says of an earlier request is written down, with the events that were to go out with it. */
static void adopt(Engine *E, ProviderCall *asked) {
  Template *template = &E->learned.template[asked->branch];
  int refused = asked->answer == SAID_REFUSED, value = refused ? template->refused : template->accepted;
  noted_down(E, asked);
  if (!value) value = refused ? E->head.refused_value : E->head.done_value;
  write_row(E, &E->node[asked->node], asked->tx, asked->about, value);
  if (refused ? template->refused_rows : template->accepted_rows) {
    number_rows(E, asked->work);
    show_rows(E, asked->work, template, refused);
  }
  settle_asked(E, asked, asked->about);
}

/* The note is durable: whoever comes back knows that there may have been a request. */
static void note(Engine *E, ProviderCall *asked) {
  have_known(E, asked->tx, E->learned.template[asked->template].key)->noted = 1;
  noted_down(E, asked);
  asked->since = E->head.now;
  call_provider(E, asked);
}

/* The provider has said how the request has ended. */
static void told(Engine *E, ProviderCall *asked) {
  Known *known = known_of(E, asked->tx, E->learned.template[asked->template].key);
  if (!known || !known->answer) {
    asked->since = E->head.now;
    call_provider(E, asked);
  } else if (known->answer == PENDING) {
    fail_asked(E, asked);
  } else {
    asked->answer = known->answer;
    conclude(E, asked);
  }
}

/* A worker begins with a local transaction of which the provider does the work. */
static void provide(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  if (template->type != TRANSACT) { fail(E, 14); return; } /* no provider can prepare */
  if (template->key >= 0 && row_of(E, &E->node[work->node], work->tx, template->key)) {
    write_own(E, work); /* it says that it is a duplicate */
    return;
  }
  ProviderCall *asked = new_asked(E);
  *asked = (ProviderCall){.work = work, .node = work->node, .template = work->template, .tx = work->tx};
  hold_work(work);
  if (!template->count) settle_asked(E, asked, template->key);
  else if (template->undoes >= 0) settle_asked(E, asked, template->undoes);
  else prepare_asked(E, asked);
}

/* --- the request ---------------------------------------------------------------------------------------------------------------------------- */

/* Whether it is within the provider's limit: a bucket of tokens that is filled at the rate. */
static int admitted(Engine *E, Provider *P) {
  if (!P->limited) return 1;
  double filled = P->tokens + (E->head.now - P->refilled) * P->rate;
  P->tokens = P->burst < filled ? P->burst : filled;
  P->refilled = E->head.now;
  if (P->tokens < 1) return 0;
  P->tokens -= 1;
  return 1;
}

static void call_provider(Engine *E, ProviderCall *asked) {
  Node *node = &E->node[asked->node];
  Provider *P = &node->provider;
  double now = E->head.now;
  if (!P->up) { go_on_in(E, P->timeout, asked, SILENT); return; }
  if (!admitted(E, P)) {
    P->counts[LIMITED]++;
    if (now + P->retry_after < asked->since + P->timeout) go_on_in(E, P->retry_after, asked, AGAIN);
    else go_on_in(E, 0.0, asked, FAIL);
    return;
  }
  double latency = draw(E, P->latency, asked->tx) * P->factor * node->pool.factor;
  int silent = P->silent > 0 && draw(E, P->chance, asked->tx) < P->silent, waits = !silent && latency <= P->timeout;
  if (!silent || draw(E, P->chance, asked->tx) < P->timeouts_done) {
    int key = E->learned.template[asked->template].key;
    if (key >= 0 && !recall(E, asked->node, asked->tx, key)) {
      Known *known = have_known(E, asked->tx, key);
      known->answer = PENDING;
      known->template = -1;
      known->since = now;
    }
    ProviderCall *request = asked;
    if (!waits) { /* nobody waits for what comes of it */
      request = new_asked(E);
      *request = *asked;
      request->work = NULL;
    }
    have_place(E, asked->tx, asked->node)->asked++;
    request->back = latency / 2;
    request->since = now;
    go_on_in(E, latency / 2, request, PERFORM);
  }
  if (!waits) go_on_in(E, P->timeout, asked, SILENT);
}

/* --- on the side of the provider ------------------------------------------------------------------------------------------------------------ */

/* Do the work, with no row of the service's. */
static int do_asked(Engine *E, ProviderCall *asked) {
  Work *work = make_work(E, asked->template, asked->node, asked->tx);
  int done = play_operations(E, work);
  if (done) apply(E, work, work->steps, E->learned.template[asked->template].compensation);
  let_work(E, work);
  return done ? SAID_DONE : SAID_REFUSED;
}

/* Do what it was asked for, and answer; a request whose key is known gets the answer of the first one. */
static void perform(Engine *E, ProviderCall *asked) {
  Provider *P = &E->node[asked->node].provider;
  int key = E->learned.template[asked->template].key;
  have_place(E, asked->tx, asked->node)->asked--;
  drop_place(E, asked->tx, asked->node);
  Known *known = key >= 0 && P->remembers ? recall(E, asked->node, asked->tx, key) : NULL;
  if (known && known->answer != PENDING) {
    asked->answer = known->answer;
  } else {
    double since = known ? known->since : E->head.now;
    asked->answer = do_asked(E, asked);
    if (key >= 0) {
      known = have_known(E, asked->tx, key);
      known->answer = asked->answer;
      known->template = asked->template;
      known->since = since;
    }
  }
  if (asked->work) go_on_in(E, asked->back, asked, ANSWERED);
  else let_asked(E, asked);
}

/* --- what comes next ------------------------------------------------------------------------------------------------------------------------ */

/* An answer does not arrive: the service goes on waiting for it. */
static void miss(Engine *E, ProviderCall *asked) {
  double end = asked->since + E->node[asked->node].provider.timeout;
  asked->step = SILENT;
  push(E, end > E->head.now ? end : E->head.now, NORMAL, PROVIDED, asked, 0);
}

/* Whether the service goes on with this: it has not crashed since, and is not paused, or it does so later. */
static int goes_on(Engine *E, ProviderCall *asked) {
  if (asked->work->epoch != E->node[asked->node].pool.epoch) {
    let_asked(E, asked);
    return 0;
  }
  return !wait(E, asked->node, (Waiting){.kind = PROVIDED, .thing = asked});
}

static void go_on_asked(Engine *E, ProviderCall *asked) {
  Provider *P = &E->node[asked->node].provider;
  if (asked->step == PERFORM) { perform(E, asked); return; }
  if (!P->up && (asked->step == ANSWERED || asked->step == TOLD)) { miss(E, asked); return; }
  if (!goes_on(E, asked)) return;
  switch (asked->step) {
  case AGAIN: call_provider(E, asked); break;
  case ANSWERED:
    P->counts[asked->answer == SAID_DONE ? DONES : REFUSALS]++;
    conclude(E, asked);
    break;
  case SILENT:
    P->counts[UNKNOWNS]++;
    fail_asked(E, asked);
    break;
  case FAIL: fail_asked(E, asked); break;
  case TOLD: told(E, asked); break;
  case NOTE: note(E, asked); break;
  case ADOPT: adopt(E, asked); break;
  default: fail(E, 7);
  }
}

/* The service has a provider. */
EXPORT void engine_provider(Engine *E, int number, const Provider *provider) { E->node[number].provider = *provider; }
EXPORT int engine_provider_size(void) { return (int)sizeof(Provider); }
/* Whether it can be reached, by how much it is slower than usual, and which share of its answers never comes: what faults have made of it. */
EXPORT void engine_set_provider(Engine *E, int number, int up, double factor, double silent) {
  Provider *P = &E->node[number].provider;
  P->up = up;
  P->factor = factor;
  P->silent = silent;
}
EXPORT int64_t engine_provider_count(Engine *E, int number, int which) { return E->node[number].provider.counts[which]; }
