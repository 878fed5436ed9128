/* Pauses: what comes in waits in the backlog of the node, `Node.backlog` in Python. */

static void receive(Engine *E, int64_t tx, int32_t event);
static void received(Engine *E, int64_t tx, int32_t event);
static void receive_delivery(Engine *E, int64_t tx, int32_t event, int64_t id);
static void request(Engine *E, int64_t tx);
static void requested(Engine *E, int64_t tx);
static void begin_request(Engine *E, int64_t tx);
static void resume(Engine *E, RunningMachine *actor);
static void run_served(Engine *E, Work *work);
static void run_worked(Engine *E, Work *work);
static void worked(Engine *E, Work *work);
static void ring_now(Engine *E, Token *token);
static void force(Engine *E, int number, Flush *flush, int64_t tx);
static void ring_machine(Engine *E, Token *token);
static void go_on(Engine *E, RunningMachine *actor);
static void relay_goes_on(Engine *E, RunningMachine *actor);
static void served(Engine *E, Work *work);
static void leave_producer(Engine *E, Publication *publication);
static void let_publication(Engine *E, Publication *publication);
static void tell_producer(Engine *E, RunningMachine *actor, uint32_t gen, int64_t tx, int done, int32_t event);

static void takes_its_time(Engine *E, Process *process, Waiting what);
static void go_on_asked(Engine *E, ProviderCall *asked);
static void let_asked(Engine *E, ProviderCall *asked);

/* Whether a node is on a host; then what comes in waits for its process. */
#define takes_time(E, number, ...) ((E)->process[number].host && (takes_its_time(E, &(E)->process[number], __VA_ARGS__), 1))

static void keep_waiting(Engine *E, Node *node, Waiting what) {
  Waiting *one = new_waiting(E);
  *one = what;
  one->next = NULL;
  ENQUEUE(node->first_waiting, node->last_waiting, one, next);
}

/* What happens to a node that is paused waits; 0: the node is not. */
#define wait(E, number, ...) ((E)->node[number].paused && (keep_waiting(E, &(E)->node[number], __VA_ARGS__), 1))

/* Nobody handles any more what came in during a pause. */
static void drop_waiting(Engine *E, int number) {
  Node *node = &E->node[number];
  Waiting *all = node->first_waiting;
  node->first_waiting = node->last_waiting = NULL;
  while (all) {
    Waiting *one = all;
    all = one->next;
    Transaction *T = one->kind == AT_THE_NODE ? record(E, one->tx) : NULL;
    if (T) T->forgotten |= 1u << number;
    if (one->kind == RING) free_token(E, one->thing);
    if (one->kind == SERVED || one->kind == WORKED) let_work(E, one->thing);
    if (one->kind == LEAVE) let_publication(E, one->thing);
    if (one->kind == PROVIDED) let_asked(E, one->thing);
    free_waiting(E, one);
  }
}

/* The process has had the time for what a machine sends next. */
static void sent(Engine *E, RunningMachine *actor) {
  actor->turned = 1;
  if (actor->is_relay) relay_goes_on(E, actor);
  else go_on(E, actor);
}

/* Handle what came in during a pause. */
static void handle_waiting(Engine *E, Waiting *one) {
  switch (one->kind) {
  case MESSAGE: receive(E, one->tx, one->event); break;
  case DELIVER: receive_delivery(E, one->tx, one->event, one->number); break;
  case AT_THE_NODE: begin_request(E, one->tx); break;
  case RING: ring_machine(E, one->thing); break;
  case RESUME: resume(E, one->thing); break;
  case SENT: sent(E, one->thing); break;
  case SERVED:
    served(E, one->thing);
    let_work(E, one->thing);
    break;
  case WORKED:
    worked(E, one->thing);
    let_work(E, one->thing);
    break;
  case LEAVE:
    leave_producer(E, one->thing);
    let_publication(E, one->thing);
    break;
  case CONFIRM: tell_producer(E, one->thing, one->gen, one->tx, (int)one->number, one->event); break;
  case PROVIDED: go_on_asked(E, one->thing); break;
  case TELL: {
    RunningMachine *actor = one->thing;
    if (!actor->alive || actor->gen != one->gen) break;
    actor->done = one->event;
    actor->phase = BUSY;
    go_on(E, actor);
    break;
  }
  default: fail(E, 7);
  }
}
