/*
 * The compiled event loop of a simulated run.
 *
 * It plays what simtx.simulator plays, event by event and in the same order, so that a run has the same digest. The protocols are not here, but for
 * the relay of an outbox: a
 * machine is two numbers, its state and the event that it meets, and a table gives the next state and a program of effects. A pair that the
 * table does not have is learned (simtx/engine/learn.py): a call into Python runs the real machine once, and the loop goes on.
 *
 * Layout. The engine owns all memory. Things that live for a while (actors, local transactions, timers, writes) come from pools and are
 * known by their address; a thing that is used again has another `gen`. Transactions are one array, by number; what the metrics ask for
 * is in it. Python writes the description of the world before the run (the functions at the end) and reads the results after it.
 *
 * Order of events. The heap is ordered by time, then priority, then the order of scheduling, as in simtx.simulator.environment. Python has a heap
 * of its own for what is rare (samples, faults); both count the order of scheduling with `seq`, and `run` returns when Python's turn has come.
 *
 * Equality. Every push into the heap, every draw and every sum of floating-point numbers is in the order of the Python code, under the same name.
 * To be compiled without -ffast-math and with -ffp-contract=off. Only + - * / and comparisons are used on numbers of the model.
 */
#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { TIMERS = 8, STEPS = 64, SHAPES = 256, STREAMS = 1024, NODES = 32, QUANTITIES = 16, OUTGOING = 4 };
enum { CLIENT = NODES - 1, BROKER = NODES - 2 }; /* as ends of links */
/* Ids of deliveries that a machine may hold at once; what it works on has one more, that of its event. */
enum { IDS = 8, NEW_ID = IDS };
/* Kinds of tokens that are no machine's timers; timers of a relay. */
enum { PUBLISH_TIMEOUT = -1, REDELIVERY = -2, POLL = 0, BACKOFF = 1 };

/* Why `run` returns. */
enum { STOPPED = 0, PYTHON = 1, FAILED = 2, LOOK = 3 };
enum { LOOK_EVERY = 1 << 16 }; /* events after which Python may look at signals */

enum { NO_MEMORY = 13 }; /* the `error` that is the user's to mend */

/* Priorities. */
enum { URGENT = 0, NORMAL = 1 };

/* What happens at an entry of the heap. */
enum {
  STOP, MESSAGE, FLUSHED, BATCH, SERVED, GIVE_UP, LANE, RING, ARRIVE, AT_THE_NODE, ASK_AGAIN, SILENCE, NO_ANSWER, ANSWER_ARRIVES, LOSE_PATIENCE, LEAVE,
  AT_THE_BROKER, STORE, CONFIRM, DELIVER, ACKNOWLEDGED, WAKE
};
/* Beside MESSAGE, SERVED, RING, AT_THE_NODE, LEAVE, CONFIRM and DELIVER, what may wait until a pause is over. */
enum { RESUME = 64, TELL };

/* Effects. */
enum {
  DO_SEND, DO_APPEND, DO_SET_TIMER, DO_CANCEL_TIMER, DO_WORK, DO_FORGET, DO_COMMIT, DO_ROLLBACK, DO_ANSWER, DO_DECIDED, DO_SUSPECT, DO_ALERT, DO_PUBLISH,
  DO_ACKNOWLEDGE
};

/* Phases of an actor, and what a local transaction is. */
enum { IDLE, BUSY, SUBMITTING, WAITING };
enum { TRANSACT, EXECUTE, PREPARE };
enum { ADD, SET, READ, REFUSE };
enum { DONE, REFUSED, DUPLICATE, FAILURE };
enum { UNDECIDED, COMMITTED, ABORTED };
enum { PARALLEL, SERIAL, GROUP };
enum { HARDENED, DURABLE, FINALISED };
enum { OUT_OPEN, OUT_COMMITTED, OUT_ABORTED, OUT_COMPENSATED, OUT_STUCK, OUT_IN_FLIGHT, OUT_INCOMPLETE, OUT_LOST };
enum { BY_TIMEOUT, BY_DETECTION, BY_AGE };

static const double TOLERANCE = 1e-9;
static const int64_t LATE = (int64_t)1 << 32;

typedef struct Engine Engine;
typedef struct Actor Actor;
typedef struct Work Work;

typedef struct { double time; uint64_t key; void *thing; int64_t number; } Entry; /* key: priority, order of scheduling, kind */
typedef struct { int32_t op, a, b, c; } Effect;
typedef struct { int32_t state, start, end, ids; int64_t taken; int32_t id[IDS]; } Transition; /* ids: how many are held then; id: where each comes from */

/* --- random numbers: simtx.workload.by_transaction ------------------------------------------------------------------------------------------ */

enum { FRONT = 3, NEIGHBOURS = 8, SUCCESSIVE = 5, WINDOWS = 32, RESTS = 64 };

typedef struct { int64_t tag; int32_t k; double *numbers; } Front;
typedef struct { int64_t tx, place; double *numbers; } Rest;
typedef struct {
  int constant; double value; Front *front; Rest *rest;
  int32_t cells, own, exact; /* cells: 0, unless it follows the common factor: simtx.simulator.common_mode */
  double share, rest_share, *quantile, *threshold;
} Stream;
typedef struct Counts { int64_t tx, base; int32_t at; struct Counts *next; int32_t taken[STREAMS]; } Counts;

/* --- what is counted: simtx.metrics.ledger, stations ------------------------------------------------------------------------------------------ */

typedef struct {
  double arrival, last_activity, answered, decided, first_effect, last_effect, lock_wait, lock_hold, in_doubt;
  double residuals_unused;
  Counts *counts;
  int32_t messages, broker_messages, forced, lazy, retries, prepared, done, actors, duplicates, missing;
  uint32_t durable;   /* nodes that hold records of it */
  uint32_t forgotten; /* nodes that have crashed since they had begun it, and hold none */
  uint8_t decision, answer, outcome, partial, refused, stuck, open, light, young, closed, measured, shape, asking, served, watch, resting;
} Transaction;

typedef struct { double last, net, gross, net_integral, gross_integral, violated, peak; } Gauge;
typedef struct { int64_t arrivals, departures, present; double stayed, entries, exits; } Station;

/* --- the world ------------------------------------------------------------------------------------------------------------------------------ */

typedef struct Key {
  char *name;
  int32_t own_before, own_next, wait_before, wait_next; /* of its node's rows that are locked, or waited for, in the order in which that began */
  int32_t node, weights;
  double value, replica, first, expected, late; /* late: what was changed of it for transactions that were closed */
  double *weight; /* `weights` times one factor for each conserved quantity */
  uint8_t has_value, has_expected;
  Work *owner, *head, *tail; /* who waits for it, in order */
} Key;

typedef struct { int32_t kind, key, amount; int32_t has_low, has_high; double low, high; } Operation;

/* A local transaction as a machine asks for it: the same for all business transactions. */
typedef struct {
  int32_t type, node, key, undoes, undone_if, accepted, refused, has_refused, compensation;
  int32_t operations, count, steps, step[STEPS], record;
  int32_t accepted_rows, refused_rows, accepted_row[OUTGOING], refused_row[OUTGOING]; /* messages for the outbox */
  int32_t on_done, on_refused, on_failed, on_duplicate[64];
} Template;

typedef struct Flush {
  int32_t what, node, epoch, forced_rollback, record;
  double start, in_doubt;
  int64_t tx;
  Actor *actor;
  uint32_t gen;
  Work *work;
  struct Flush *next;
} Flush;

struct Work {
  Actor *actor;
  uint32_t gen;
  int32_t template, node, refs, epoch, status, forced, row, tombstone, no_operations, ended;
  int64_t tx;
  uint64_t steps;
  double since, demand, locked_from, wait_since, prepared_since;
  Work *prior, *later; /* prepared branches, in order */
  Work *next, *queued; /* in the pool's queue, in the queue of a lock */
  int32_t waits_for;
  int64_t number; /* of its first outbox row; -1: it is numbered when it commits */
  uint32_t seen, scanned;
  int32_t changes, keys;
  int32_t *changed, *locked;
  double *values;
};

typedef struct Token { void *owner; int32_t kind; double due, seen; struct Token *next; } Token;
typedef struct Lane { double delay; Token *head, *tail; int armed; } Lane;
typedef struct Mail { int32_t event; int64_t id; struct Mail *next; } Mail;

struct Actor {
  int64_t tx;
  int32_t node, state, pc, end, done, timers;
  uint32_t gen;
  uint8_t phase, alive, is_relay, lazy;
  int64_t id[IDS], was[IDS + 1]; /* ids of deliveries that it holds; those before its event, and the event's */
  Mail *head, *tail;
  Token *timer[TIMERS];
  Work *work;
  Actor *next;
};

/* A record in a log: which one, and since when it may be in memory only, if it is lazy. */
typedef struct Record { int32_t what, lazy; double since; struct Record *next; } Record;
/* Records that are garbage, unless a crash loses the word of it; lazy rollbacks, which a crash may undo. */
typedef struct Ending { int64_t tx; double since; Record *records; struct Ending *next; } Ending;
typedef struct Rolled { double since; Work *branch; struct Rolled *next; } Rolled;

/* What a node has of a transaction. */
typedef struct Place {
  int64_t tx;
  int32_t node;
  Actor *actor;
  Work *prepared, *open;
  struct Record *records, *last_record; /* what its log holds of the transaction */
  struct Row *flying; /* the relay: the row on its way, and those behind it */
  struct Parcel *head, *tail; /* the broker: what waits for this consumer, in order */
} Place;

/* A row of an outbox that is visible and not marked. */
typedef struct Row { int64_t number, tx; int32_t event; uint8_t known; double marked; struct Row *before, *next, *behind; } Row;

/* The relay of a node, which is simtx.protocols.relay.Relay: the one machine that is written here once more, because its states have no end. */
typedef struct Held { int64_t tx; struct Held *next; } Held;
typedef struct {
  Actor *actor;
  double interval;
  int32_t batch, alert_after, known, rounds, bounds;
  uint8_t backing_off, more;
  double bound[66];
  Held *held, *last;
} Relay;

typedef struct Publication {
  Actor *actor;
  uint32_t gen;
  int32_t node, event, on_done, on_failed, refs, open, epoch;
  int64_t tx;
  Token *timeout;
  struct Publication *next;
} Publication;

typedef struct Parcel {
  int64_t id, tx, lane; /* lane: in which order lanes were begun */
  int32_t event, node, sent;
  double stored;
  Token *timer;
  struct Parcel *next, *behind; /* in its bucket; in its lane */
} Parcel;

typedef struct Seen { int64_t tx; int32_t event, kept; double since; struct Seen *next, *behind; } Seen;

/* A change on its way to a read replica: simtx.simulator.replica. */
typedef struct Shipped { double visible, value; int32_t key; struct Shipped *next; } Shipped;

/* What came in while a node was paused. */
typedef struct Waiting { int32_t kind, event; uint32_t gen; int64_t tx, number; void *thing; struct Waiting *next; } Waiting;

/* simtx.protocols.breaker: what a caller thinks of another node. */
enum { SHUT, OPEN, HALF_OPEN }; /* SHUT: calls go through */
typedef struct { int32_t state, failures; double since; } Breaker;

typedef struct {
  int32_t workers, free, limit, epoch, waiting_count; double since, busy_time, factor, work;
  Work *head, *tail;
  Station waiting, served;
} Pool;

typedef struct {
  int32_t stream, flush, instant, busy, stalled, epoch; double busy_time, durable_until; int64_t flushes;
  Flush *head, *tail;
} Disk;

typedef struct {
  int32_t initial, jitter, has_store, serializable, prepared, open, owners; uint32_t generation;
  double lock_timeout, retention, rotate_at, locks_held, timer_factor;
  int64_t locks_taken, lock_queue;
  Pool pool;
  Disk disk;
  Station lock_waits;
  int32_t link[NODES + 1];
  int32_t at_commit, rows, held, up, paused, outage, own_first, own_last, wait_first, wait_last;
  double lazy_flush;
  Work *first_prepared, *last_prepared;
  Ending *first_ending, *last_ending;
  Rolled *first_rolled, *last_rolled;
  Row *first_mark, *last_mark;
  int64_t next_row;
  Row *first_row, *last_row;
  Relay relay;
  Breaker breaker[NODES]; /* by the other node */
  int32_t lag; /* stream of the delay of its read replica; 0: it has none */
  Shipped *first_shipped, *last_shipped;
  int64_t replica_reads, stale_reads;
  Waiting *first_waiting, *last_waiting; /* for the end of a pause */
  Work *first_stalled, *last_stalled; /* for the end of an outage of the store */
} Node;

typedef struct {
  int32_t draw, plain, reorders, duplicates, loses, blocked;
  double reorder, duplication, loss; /* chances to be spared */
  int32_t reorder_stream, duplication_stream, loss_stream, delay_stream, copy_latency_stream, copy_delay_stream;
} Link;

typedef struct Call { int64_t tx; int32_t attempt, entry, asked_at; struct Call *next; } Call;

/* A page of plans: 1,024 transactions. */
enum { PAGE = 1024 };
typedef struct { double *amounts; int32_t *keys; uint8_t *shapes; } Page;

typedef struct {
  int32_t (*learn)(int32_t state, int32_t event);
  int32_t (*duplicate)(int32_t template, int32_t value);
  int32_t (*fill)(int32_t stream, int64_t major, int64_t minor, int32_t size, double *numbers);
  int32_t (*plan)(int64_t page);
  int32_t (*arrivals)(double *times, int32_t count);
  int32_t (*ended)(void);
  int32_t (*link)(int32_t source, int32_t destination);
  int32_t (*delivery)(int32_t message, int32_t id);
  int32_t (*recover)(int32_t node, int32_t count, const int32_t *records);
  int32_t (*replay)(int64_t tx, int32_t transition, int32_t state, int32_t event);
} Calls;

/* What Python reads and writes between two events: the first part of an engine. */
typedef struct {
  double now, python_time, partial_time, partial_since, next_sweep, next_lighten, grace, soon;
  uint64_t python_key, seq;
  int64_t asked, asking, ordered, undecided, unsettled, partial, alerts, repeated, victims, timeouts, first_young, first_open;
  int64_t transactions, in_doubt_open, locks_open, unpublished, redelivered, lost, next_parcel, parcels;
  int32_t over, measuring, error, steps, quantities, writing, nodes, slots, shared_slots, hub, entry, jitter, client_jitter;
  int32_t remote, insists, again, closed_workload, thinking, deadlocks, has_duration, bounds;
  int32_t has_broker, in_order, linger, acknowledgement, wake_on_commit, has_retention, broker_up, crashes, presumes, answered, beat, followed;
  int32_t has_breakers, threshold;
  int64_t held_back; /* messages that a breaker did not let go */
  int64_t memory, memory_limit; /* bytes that were taken, and that may be, 0: as many as there are */
  int32_t request[SHAPES], undo[STEPS], writes[STEPS], done_value, refused_value, tombstone_value;
  uint64_t behind[STEPS]; /* steps that come after each */
  double deadline, client_timeout, warmup, duration, redelivery, deduplication, retention, publish_timeout, cooldown, factor_step;
} Head;

/* What was learned of the machines: it outlives an engine, and goes to the next one that plays the same scenario under the same strategy. */
typedef struct {
  int32_t *table, states, state_room, events, event_room; /* the transition of a state and an event, -1: it was not met */
  uint8_t *is_initial;
  int32_t *event_node, *event_sender, *state_ids; /* state_ids: how many ids of deliveries a machine holds in a state */
  int32_t (*delivery)[IDS + 1]; /* by message and id: the event that it is delivered */
  Transition *transition;
  int32_t transitions, transition_room;
  Effect *program;
  int32_t programs, program_room;
  Operation *operation;
  int32_t operations, operation_room;
  Template *template;
  int32_t templates, template_room;
  int32_t timer_event[TIMERS];
  double *number; /* constants of programs */
  int32_t numbers, number_room;
  int32_t *claim, claim_room; /* by event: what it says of which step, plus 1 */
  int32_t row_keys; /* how many idempotency rows a transaction may have */
} Learned;

/* What events in outboxes have said of the steps of a transaction: done, that all are done, refused, refused in the end since undone. */
enum { SAYS_DONE, SAYS_COMPLETED, SAYS_REFUSED, SAYS_UNDONE, SAYINGS };
typedef struct { uint64_t step[SAYINGS]; } Claims;

/* What is noticed of a transaction while the run goes on: simtx.metrics.guarantees. */
enum { SPLIT = 1, DOUBLED = 2, EARLY = 4 };

struct Engine {
  Head head;
  jmp_buf *escape; /* out of memory: where to go */
  Calls calls;
  Entry *heap;
  int64_t entries, heap_room;
  Stream stream[STREAMS];
  int32_t streams;
  Counts **counts, *free_counts, nobody, scratch;
  int32_t counts_used, counts_room;
  Transaction *tx;
  int64_t tx_room;
  int16_t *actions, *undone;
  Claims *claims; /* what was told of each transaction; none without a broker */
  double *residuals;
  int64_t *order;
  uint32_t *rows;
  int32_t row_room;
  Gauge gauge[QUANTITIES];
  Node node[NODES];
  Link *link;
  int32_t links;
  Key *key;
  int32_t keys, key_room;
  Page *page;
  int64_t pages, page_room;
  double *demands; /* of every step of every transaction */
  int64_t demand_room;
  Learned learned;
  int32_t book[4096], books; /* slots whose operations add, by step */
  Lane **lane;
  int32_t lanes;
  double *bound;
  /* pools */
  Place *place;
  int64_t places, place_room;
  Actor *free_actor;
  Work *free_work;
  Token *free_token;
  Flush *free_flush;
  Mail *free_mail;
  Call *free_call;
  Row *free_row;
  Record *free_record;
  Ending *free_ending;
  Rolled *free_rolled;
  Held *free_held;
  Waiting *free_waiting;
  Shipped *free_shipped;
  Publication *free_publication;
  Parcel *free_parcel, **parcel;
  int64_t next_lane;
  Seen *free_seen, **seen_at, *seen_first, *seen_last;
  void **slabs;
  int32_t slab_count, slab_room;
  double arrival[PAGE];
  double factor[PAGE]; /* a piece of the common factor */
  int64_t factor_piece;
  int32_t arrival_at, arrival_count;
  uint32_t seen;
};

/* --- memory --------------------------------------------------------------------------------------------------------------------------------- */

/* Where there is too little memory, C goes back to the call from Python that it is in, which gives `otherwise`; the engine is of no use any more. */
typedef struct { Engine *engine; jmp_buf *outside; } Guard;
static void leave_guard(Guard *guard) { guard->engine->escape = guard->outside; }
#define GUARD(E, otherwise)                                                                                                                    \
  jmp_buf here;                                                                                                                                \
  Guard guard __attribute__((cleanup(leave_guard))) = {(E), (E)->escape};                                                                      \
  (E)->escape = &here;                                                                                                                         \
  if (setjmp(here)) return otherwise;

static void out_of_memory(Engine *E) {
  E->head.error = NO_MEMORY;
  longjmp(*E->escape, 1);
}

/* Other memory in place of what was taken before. */
static void *reserve(Engine *E, void *old, size_t before, size_t size) {
  int64_t more = (int64_t)size - (int64_t)before;
  if (E->head.memory_limit && E->head.memory + more > E->head.memory_limit) out_of_memory(E);
  void *memory = realloc(old, size ? size : 1);
  if (!memory) out_of_memory(E);
  E->head.memory += more;
  return memory;
}
#define RESERVE(E, array, before, size) (array) = reserve((E), (array), (size_t)(before) * sizeof *(array), (size_t)(size) * sizeof *(array))

/* Memory that the caller frees soon. */
static void *borrow(Engine *E, size_t size) {
  void *memory = malloc(size);
  if (!memory) out_of_memory(E);
  return memory;
}

static void *slab(Engine *E, size_t size) {
  if (E->slab_count == E->slab_room) {
    int32_t room = E->slab_room ? 2 * E->slab_room : 64;
    RESERVE(E, E->slabs, E->slab_room, room);
    E->slab_room = room;
  }
  if (E->head.memory_limit && E->head.memory + (int64_t)size > E->head.memory_limit) out_of_memory(E);
  void *memory = calloc(1, size);
  if (!memory) out_of_memory(E);
  E->head.memory += (int64_t)size;
  return E->slabs[E->slab_count++] = memory;
}

#define MAKE_POOL(Type, name, member)                                                                                                          \
  static Type *new_##name(Engine *E) {                                                                                                         \
    if (!E->free_##name) {                                                                                                                     \
      Type *all = slab(E, 256 * sizeof(Type));                                                                                                 \
      for (int i = 0; i < 256; i++) { all[i].member = E->free_##name; E->free_##name = &all[i]; }                                              \
    }                                                                                                                                          \
    Type *one = E->free_##name;                                                                                                                \
    E->free_##name = one->member;                                                                                                              \
    return one;                                                                                                                                \
  }                                                                                                                                            \
  static void free_##name(Engine *E, Type *one) { one->member = E->free_##name; E->free_##name = one; }

MAKE_POOL(Token, token, next)
MAKE_POOL(Flush, flush, next)
MAKE_POOL(Mail, mail, next)
MAKE_POOL(Call, call, next)
MAKE_POOL(Actor, actor, next)
MAKE_POOL(Row, row, next)
MAKE_POOL(Record, record, next)
MAKE_POOL(Ending, ending, next)
MAKE_POOL(Rolled, rolled, next)
MAKE_POOL(Held, held, next)
MAKE_POOL(Waiting, waiting, next)
MAKE_POOL(Shipped, shipped, next)
MAKE_POOL(Publication, publication, next)
MAKE_POOL(Parcel, parcel, next)
MAKE_POOL(Seen, seen, next)

static Work *new_work(Engine *E) {
  if (!E->free_work) {
    int room = E->head.slots + 2;
    for (int i = 0; i < 64; i++) {
      Work *work = slab(E, sizeof(Work));
      work->changed = slab(E, (size_t)room * sizeof(int32_t));
      work->locked = slab(E, (size_t)room * sizeof(int32_t));
      work->values = slab(E, (size_t)room * sizeof(double));
      work->next = E->free_work;
      E->free_work = work;
    }
  }
  Work *work = E->free_work;
  E->free_work = work->next;
  return work;
}

static void hold_work(Work *work) { work->refs++; }
static void let_work(Engine *E, Work *work) {
  if (--work->refs == 0) { work->next = E->free_work; E->free_work = work; }
}

#define GROW(array, used, room, more)                                                                                                          \
  if ((used) + (more) > (room)) {                                                                                                              \
    size_t was = (size_t)(room), is = was ? was : 64;                                                                                          \
    while ((size_t)((used) + (more)) > is) is *= 2;                                                                                            \
    RESERVE(E, array, was, is);                                                                                                                \
    memset((char *)(array) + was * sizeof(*(array)), 0, (is - was) * sizeof(*(array)));                                                        \
    (room) = (__typeof__(room))is;                                                                                                             \
  }

/* --- the heap ------------------------------------------------------------------------------------------------------------------------------- */

static inline int before(double time, uint64_t key, const Entry *other) {
  return time < other->time || (time == other->time && key < other->key);
}

static void fail(Engine *E, int error) {
  if (!E->head.error) E->head.error = error;
}

/* What a call into Python has returned, if it has come to its end: an exception that nobody caught there leaves any number behind. */
static int32_t outcome_of(Engine *E, int32_t result) {
  if (E->head.answered) return result;
  fail(E, 4);
  return -1;
}

#define ASK(E, call) ((E)->head.answered = 0, outcome_of((E), (E)->calls.call))

static void push(Engine *E, double time, int priority, int kind, void *thing, int64_t number) {
  if (!(time < INFINITY)) { fail(E, 8); return; }
  GROW(E->heap, E->entries, E->heap_room, 1)
  uint64_t key = (uint64_t)priority << 62 | E->head.seq++ << 6 | (uint64_t)kind;
  int64_t at = E->entries++;
  while (at > 0) {
    int64_t parent = (at - 1) / 4;
    if (!before(time, key, &E->heap[parent])) break;
    E->heap[at] = E->heap[parent];
    at = parent;
  }
  E->heap[at] = (Entry){time, key, thing, number};
}

static Entry pop(Engine *E) {
  Entry first = E->heap[0], last = E->heap[--E->entries];
  int64_t at = 0, count = E->entries;
  for (;;) {
    int64_t child = 4 * at + 1, least = child;
    if (child >= count) break;
    int64_t end = child + 4 < count ? child + 4 : count;
    for (int64_t other = child + 1; other < end; other++)
      if (before(E->heap[other].time, E->heap[other].key, &E->heap[least])) least = other;
    if (!before(E->heap[least].time, E->heap[least].key, &last)) break;
    E->heap[at] = E->heap[least];
    at = least;
  }
  if (count) E->heap[at] = last;
  return first;
}

static void call_in(Engine *E, double delay, int kind, void *thing, int64_t number) {
  push(E, E->head.now + delay, NORMAL, kind, thing, number);
}

/* --- random numbers ------------------------------------------------------------------------------------------------------------------------- */

static Counts *begin_counts(Engine *E, int64_t tx) {
  Transaction *T = &E->tx[tx];
  Counts *counts = E->free_counts;
  int late = !T->young;
  if (counts) {
    E->free_counts = counts->next;
  } else {
    counts = slab(E, sizeof(Counts));
    GROW(E->counts, E->counts_used, E->counts_room, 1)
    counts->at = E->counts_used;
    E->counts[E->counts_used++] = counts;
  }
  memset(counts->taken, 0, (size_t)E->streams * sizeof(int32_t));
  counts->tx = tx;
  counts->base = late ? LATE : 0;
  T->counts = counts;
  if (tx % 1024 == 0) {
    for (int i = 0; i < E->counts_used; i++) {
      Counts *other = E->counts[i];
      if (other->tx < 0 || E->tx[other->tx].young) continue;
      E->tx[other->tx].counts = NULL;
      other->tx = -1;
      other->next = E->free_counts;
      E->free_counts = other;
    }
    if (late) { /* its own are gone with them: this one draw counts */
      memset(E->scratch.taken, 0, sizeof E->scratch.taken);
      E->scratch.base = LATE;
      return &E->scratch;
    }
  }
  return counts;
}

static double draw(Engine *E, int stream, int64_t tx);

/* The common factor now. */
static double factor(Engine *E) {
  int64_t place = (int64_t)(E->head.now / E->head.factor_step), piece = place / PAGE;
  if (piece != E->factor_piece) {
    E->factor_piece = piece;
    if (ASK(E, fill(-1, piece, 0, PAGE, E->factor))) fail(E, 3);
  }
  return E->factor[place % PAGE];
}

/* A draw that follows the common factor. `threshold` says where the quantile's cell changes, so that nothing transcendental is computed here. */
static double draw_together(Engine *E, int stream, int64_t tx) {
  Stream *S = &E->stream[stream];
  double normal = S->share * factor(E), own = draw(E, S->own, tx);
  normal += S->rest_share * own;
  int low = 0, high = S->cells - 1; /* the cell is the number of thresholds that are not above */
  while (low < high) {
    int middle = (low + high) / 2;
    if (S->threshold[middle] <= normal) low = middle + 1;
    else high = middle;
  }
  if (low < S->cells - 1 || !S->exact) return S->quantile[low];
  if (ASK(E, fill(stream, -1, -1, 1, &normal))) fail(E, 3); /* the tail has no end that a table could hold */
  return normal;
}

static double draw(Engine *E, int stream, int64_t tx) {
  Stream *S = &E->stream[stream];
  if (S->constant) return S->value;
  if (S->cells) return draw_together(E, stream, tx);
  Counts *counts = tx < 0 ? &E->nobody : E->tx[tx].counts;
  if (!counts) counts = begin_counts(E, tx);
  int64_t k = counts->base + counts->taken[stream]++;
  if (k < 1 << FRONT) {
    int64_t window = tx >> NEIGHBOURS;
    if (!S->front) S->front = slab(E, (WINDOWS << FRONT) * sizeof(Front));
    Front *front = &S->front[(window & (WINDOWS - 1)) << FRONT | k];
    if (!front->numbers || front->tag != window) {
      if (!front->numbers) front->numbers = slab(E, (1 << NEIGHBOURS) * sizeof(double));
      front->tag = window;
      if (ASK(E, fill(stream, window, k, 1 << NEIGHBOURS, front->numbers))) fail(E, 3);
    }
    return front->numbers[tx & ((1 << NEIGHBOURS) - 1)];
  }
  int64_t place = k >> SUCCESSIVE;
  if (!S->rest) S->rest = slab(E, RESTS * sizeof(Rest));
  Rest *rest = &S->rest[(uint64_t)(tx * 31 + place) % RESTS];
  if (!rest->numbers || rest->tx != tx || rest->place != place) {
    if (!rest->numbers) rest->numbers = slab(E, (1 << SUCCESSIVE) * sizeof(double));
    rest->tx = tx;
    rest->place = place;
    if (ASK(E, fill(stream, tx, (1 << FRONT) + place, 1 << SUCCESSIVE, rest->numbers))) fail(E, 3);
  }
  return rest->numbers[k & ((1 << SUCCESSIVE) - 1)];
}

/* --- stations ------------------------------------------------------------------------------------------------------------------------------- */

static void enter(Station *station, double now) { station->arrivals++; station->present++; station->entries += now; }
static void leave(Station *station, double now, double since) {
  station->departures++; station->present--; station->exits += now; station->stayed += now - since;
}

/* --- the ledger ----------------------------------------------------------------------------------------------------------------------------- */

static inline Transaction *record(Engine *E, int64_t tx) { return tx >= 0 && !E->tx[tx].closed ? &E->tx[tx] : NULL; }

static void advance(Gauge *gauge, double now) {
  double span = now - gauge->last;
  if (span > 0) {
    gauge->last = now;
    double net = fabs(gauge->net);
    if (net > TOLERANCE) {
      gauge->net_integral += net * span;
      gauge->violated += span;
      if (net > gauge->peak) gauge->peak = net;
    }
    gauge->gross_integral += gauge->gross * span;
  }
}

static void weigh(Engine *E, Transaction *T) {
  int open = T->done != (T->decision == COMMITTED ? E->head.writing : 0);
  if (open != T->open) {
    T->open = (uint8_t)open;
    E->head.unsettled += open ? 1 : -1;
  }
}

static void decided(Engine *E, Transaction *T, int committed, double now) {
  if (T->decision == UNDECIDED) {
    E->head.undecided--;
    T->decision = committed ? COMMITTED : ABORTED;
    T->decided = now;
    weigh(E, T);
  } else if (committed != (T->decision == COMMITTED)) {
    T->watch |= SPLIT;
  }
}

static int settled(Engine *E, int64_t tx) {
  int steps = E->head.steps, wanted = E->tx[tx].decision == COMMITTED;
  for (int i = 0; i < steps; i++)
    if (E->actions[tx * steps + i] - E->undone[tx * steps + i] != wanted && E->head.writes[i]) return 0;
  return 1;
}

static inline int32_t key_of(Engine *E, int64_t tx, int slot) {
  if (E->head.shared_slots) return E->page[0].keys[slot];
  return E->page[tx / PAGE].keys[(tx % PAGE) * E->head.slots + slot];
}
static inline double amount_of(Engine *E, int64_t tx, int slot) {
  if (E->head.shared_slots) return E->page[0].amounts[slot];
  return E->page[tx / PAGE].amounts[(tx % PAGE) * E->head.slots + slot];
}

static void book(Engine *E, int64_t tx, int committed) {
  if (!committed) return;
  for (int i = 0; i < E->books; i++) {
    Key *key = &E->key[key_of(E, tx, E->book[i])];
    key->expected += amount_of(E, tx, E->book[i]);
    key->has_expected = 1;
  }
}

static void close_record(Engine *E, int64_t tx, int outcome, int resting) {
  Transaction *T = &E->tx[tx];
  T->resting = (uint8_t)(resting && outcome != OUT_STUCK && outcome != OUT_IN_FLIGHT);
  int steps = E->head.steps, committed;
  int16_t *actions = E->actions + tx * steps, *undone = E->undone + tx * steps;
  if (!outcome) {
    outcome = T->decision == COMMITTED ? OUT_COMMITTED : OUT_ABORTED;
    if (T->decision != COMMITTED)
      for (int i = 0; i < steps; i++)
        if (undone[i]) outcome = OUT_COMPENSATED;
  }
  if (outcome == OUT_LOST) {
    committed = 0;
  } else if (T->decision != UNDECIDED) {
    committed = T->decision == COMMITTED;
  } else {
    committed = 0;
    if (!T->refused)
      for (int i = 0; i < steps; i++)
        if (actions[i]) committed = 1;
  }
  if (!T->light) book(E, tx, committed);
  for (int i = 0; i < steps; i++) {
    int net = actions[i] - undone[i];
    if (net != committed && E->head.writes[i]) {
      if (net > committed) T->duplicates += net - committed;
      else T->missing += committed - net;
    }
  }
  T->outcome = (uint8_t)outcome;
  T->closed = 1;
  T->young = 0;
  E->order[E->head.ordered++] = tx;
}

static int is_through(Engine *E, int64_t tx, double limit) {
  Transaction *T = &E->tx[tx];
  return T->decision && !T->actors && T->last_activity < limit && settled(E, tx);
}

static void lighten(Engine *E, double now) {
  Head *H = &E->head;
  H->next_lighten = now + H->soon;
  double limit = now - H->soon;
  while (H->first_young < H->asked && !E->tx[H->first_young].young) H->first_young++;
  for (int64_t tx = H->first_young; tx < H->asked; tx++) {
    Transaction *T = &E->tx[tx];
    if (!T->young) continue;
    if (T->arrival >= limit) break;
    if (is_through(E, tx, limit)) {
      book(E, tx, T->decision == COMMITTED);
      T->light = 1;
      T->young = 0;
    }
  }
}

static void sweep(Engine *E, double now) {
  Head *H = &E->head;
  H->next_sweep = now + H->grace / 4;
  double limit = now - H->grace;
  while (H->first_open < H->asked && E->tx[H->first_open].closed) H->first_open++;
  for (int64_t tx = H->first_open; tx < H->asked; tx++) {
    if (E->tx[tx].closed) continue;
    if (E->tx[tx].arrival >= limit) break;
    if (is_through(E, tx, limit)) close_record(E, tx, 0, 1);
  }
}

static void shift(Engine *E, int64_t tx, const double *shifts, double now) {
  for (int i = 0; i < E->head.quantities; i++) {
    double change = shifts[i];
    if (change == 0.0) continue;
    Gauge *gauge = &E->gauge[i];
    if (E->head.measuring && now > gauge->last) advance(gauge, now);
    double was = E->residuals[tx * E->head.quantities + i], after = was + change;
    if (-TOLERANCE < after && after < TOLERANCE) after = 0.0;
    E->residuals[tx * E->head.quantities + i] = after;
    gauge->net += change;
    gauge->gross += fabs(after) - fabs(was);
  }
}

static void effect(Engine *E, int64_t tx, uint64_t steps, int compensation, const double *shifts, double now) {
  Transaction *T = &E->tx[tx];
  Head *H = &E->head;
  if (T->first_effect != T->first_effect) T->first_effect = now;
  T->last_effect = T->last_activity = now;
  int16_t *actions = E->actions + tx * H->steps, *undone = E->undone + tx * H->steps;
  int done = T->done, several = (steps & (steps - 1)) != 0;
  for (int i = 0; i < H->steps; i++) {
    if (!(steps >> i & 1) || (several && !H->writes[i])) continue;
    if (compensation) {
      undone[i]++;
      if (actions[i] == undone[i]) done--;
      else if (actions[i] < undone[i]) T->watch |= DOUBLED;
    } else {
      actions[i]++;
      if (actions[i] == undone[i] + 1) done++;
      else if (actions[i] > undone[i]) T->watch |= DOUBLED;
    }
  }
  T->done = done;
  if (compensation && done)
    for (int i = 0; i < H->steps; i++)
      for (int j = i + 1; steps >> i & 1 && j < H->steps; j++)
        if (H->behind[i] >> j & 1 && actions[j] > undone[j]) T->watch |= EARLY;
  if (T->decision) weigh(E, T);
  int partial = 0 < done && done < H->writing;
  if (partial != T->partial) {
    T->partial = (uint8_t)partial;
    int change = partial ? 1 : -1;
    if (H->partial == 0) H->partial_since = now;
    else if (H->partial + change == 0 && H->measuring) H->partial_time += now - H->partial_since;
    H->partial += change;
  }
  if (shifts) shift(E, tx, shifts, now);
}

/* --- places: what a node has of a transaction -------------------------------------------------------------------------------------------------- */

static inline uint64_t mix(int64_t tx, int node) {
  uint64_t x = ((uint64_t)tx * NODES + (uint64_t)node) * 0x9E3779B97F4A7C15ull;
  return x ^ x >> 29;
}

static Place *find_place(Engine *E, int64_t tx, int node) {
  uint64_t mask = (uint64_t)E->place_room - 1;
  for (uint64_t at = mix(tx, node) & mask;; at = (at + 1) & mask) {
    Place *place = &E->place[at];
    if (place->node < 0) return NULL;
    if (place->tx == tx && place->node == node) return place;
  }
}

static Place *put_place(Engine *E, int64_t tx, int node) {
  uint64_t mask = (uint64_t)E->place_room - 1;
  uint64_t at = mix(tx, node) & mask;
  while (E->place[at].node >= 0) at = (at + 1) & mask;
  E->place[at] = (Place){.tx = tx, .node = node};
  E->places++;
  return &E->place[at];
}

static Place *have_place(Engine *E, int64_t tx, int node) {
  Place *place = find_place(E, tx, node);
  if (place) return place;
  if (2 * E->places >= E->place_room) {
    Place *old = E->place;
    int64_t room = E->place_room;
    E->place = reserve(E, NULL, (size_t)room * sizeof(Place), 2 * (size_t)room * sizeof(Place)); /* the old ones are freed below */
    E->place_room *= 2;
    E->places = 0;
    for (int64_t i = 0; i < E->place_room; i++) E->place[i].node = -1;
    for (int64_t i = 0; i < room; i++)
      if (old[i].node >= 0) *put_place(E, old[i].tx, old[i].node) = old[i];
    free(old);
  }
  return put_place(E, tx, node);
}

static void drop_place(Engine *E, int64_t tx, int node) {
  Place *place = find_place(E, tx, node);
  if (!place || place->actor || place->prepared || place->open || place->records || place->flying || place->head) return;
  uint64_t mask = (uint64_t)E->place_room - 1, hole = (uint64_t)(place - E->place), at = hole;
  for (;;) { /* move back what would not be found behind the hole */
    at = (at + 1) & mask;
    if (E->place[at].node < 0) break;
    uint64_t home = mix(E->place[at].tx, E->place[at].node) & mask;
    if (((at - home) & mask) >= ((at - hole) & mask)) {
      E->place[hole] = E->place[at];
      hole = at;
    }
  }
  E->place[hole].node = -1;
  E->places--;
}

static inline Actor *actor_of(Engine *E, int64_t tx, int node) {
  Place *place = find_place(E, tx, node);
  return place ? place->actor : NULL;
}
static inline Work *open_of(Engine *E, int64_t tx, int node) {
  if (!E->node[node].open) return NULL;
  Place *place = find_place(E, tx, node);
  return place ? place->open : NULL;
}

/* --- pauses --------------------------------------------------------------------------------------------------------------------------------- */

/* What happens to a node that is paused waits; 0: the node is not. */
static int wait(Engine *E, int number, Waiting what) {
  Node *node = &E->node[number];
  if (!node->paused) return 0;
  Waiting *one = new_waiting(E);
  *one = what;
  one->next = NULL;
  if (node->last_waiting) node->last_waiting->next = one;
  else node->first_waiting = one;
  node->last_waiting = one;
  return 1;
}

/* --- circuit breakers: simtx.protocols.breaker ------------------------------------------------------------------------------------------------- */

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

/* --- timers --------------------------------------------------------------------------------------------------------------------------------- */

static void play(Engine *E, Actor *actor, int32_t event, int64_t id);
static void go_on(Engine *E, Actor *actor);
static void notify(Engine *E, Actor *actor, int32_t event, int64_t id);
static void time_out(Engine *E, Publication *publication);
static void redeliver(Engine *E, Parcel *parcel);
static void let_publication(Engine *E, Publication *publication);
static void relay_rings(Engine *E, Actor *actor, int kind);
static void relay_published(Engine *E, Actor *actor, int64_t tx, int done);
static Actor *spawn(Engine *E, int64_t tx, int node);

/* A timer of a machine is due. */
static void ring_machine(Engine *E, Token *token) {
  Actor *actor = token->owner;
  int kind = token->kind;
  if (!actor) { free_token(E, token); return; }
  if (wait(E, actor->node, (Waiting){.kind = RING, .thing = token})) return;
  free_token(E, token);
  actor->timer[kind] = NULL;
  actor->timers--;
  if (actor->is_relay) relay_rings(E, actor, kind);
  else notify(E, actor, E->learned.timer_event[kind], -1);
}

static void ring(Engine *E, Token *token) {
  double now = E->head.now;
  if (!token->owner) { free_token(E, token); return; }
  if (token->due > now) {
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

static void tick(Engine *E, Lane *lane) {
  while (lane->head) {
    Token *token = lane->head;
    if (token->owner && token->seen > E->head.now) {
      push(E, token->seen, NORMAL, LANE, lane, 0);
      return;
    }
    lane->head = token->next;
    if (!lane->head) lane->tail = NULL;
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

static void start_timer(Engine *E, Token *token, double delay, double extra) {
  double seen = E->head.now + delay;
  token->due = seen + extra;
  token->next = NULL;
  if (delay == 0.0) {
    token->seen = token->due;
    push(E, token->due, NORMAL, RING, token, 0);
    return;
  }
  token->seen = seen;
  Lane *lane = lane_of(E, delay);
  if (lane->tail) lane->tail->next = token;
  else lane->head = token;
  lane->tail = token;
  if (!lane->armed) {
    lane->armed = 1;
    push(E, seen, NORMAL, LANE, lane, 0);
  }
}

static void set_timer(Engine *E, Actor *actor, int kind, double wait, double jitter) {
  Node *node = &E->node[actor->node];
  double factor = node->timer_factor, delay = wait * factor;
  double extra = jitter != 0.0 ? draw(E, node->jitter, actor->tx) * jitter * factor : 0.0;
  Token *token = actor->timer[kind];
  if (token) {
    double due = E->head.now + delay + extra;
    if (token->seen <= due) {
      token->due = due;
      return;
    }
    token->owner = NULL;
    actor->timers--;
  }
  token = new_token(E);
  token->owner = actor;
  token->kind = kind;
  actor->timer[kind] = token;
  actor->timers++;
  start_timer(E, token, delay, extra);
}

static void cancel_timers(Actor *actor) {
  if (!actor->timers) return;
  for (int i = 0; i < TIMERS; i++)
    if (actor->timer[i]) { actor->timer[i]->owner = NULL; actor->timer[i] = NULL; }
  actor->timers = 0;
}

/* --- links ---------------------------------------------------------------------------------------------------------------------------------- */

static Link *link_of(Engine *E, int source, int destination) {
  int number = E->node[source].link[destination];
  if (number < 0) {
    number = ASK(E, link(source, destination));
    if (number < 0) { /* the run is over */
      static Link nowhere = {.plain = 1};
      fail(E, 3);
      return &nowhere;
    }
    E->node[source].link[destination] = number;
  }
  return &E->link[number];
}

/* How many copies are on their way. */
static int transmit(Engine *E, Link *link, int kind, void *thing, int64_t number, int64_t tx) {
  double delay = draw(E, link->draw, tx);
  if (link->plain) { call_in(E, delay, kind, thing, number); return 1; }
  if (link->reorders && draw(E, link->reorder_stream, tx) >= link->reorder) delay += draw(E, link->delay_stream, tx);
  int copied = link->duplicates && draw(E, link->duplication_stream, tx) >= link->duplication;
  if (link->blocked || (link->loses && draw(E, link->loss_stream, tx) >= link->loss)) return 0;
  call_in(E, delay, kind, thing, number);
  if (copied) {
    delay = draw(E, link->copy_latency_stream, tx);
    delay += draw(E, link->copy_delay_stream, tx);
    call_in(E, delay, kind, thing, number);
  }
  return 1 + copied;
}

static int carry(Engine *E, Link *link, int kind, void *thing, int64_t number, int64_t tx) {
  double delay = draw(E, link->draw, tx);
  if (!link->plain) {
    if (link->reorders && draw(E, link->reorder_stream, tx) >= link->reorder) delay += draw(E, link->delay_stream, tx);
    if (link->blocked || (link->loses && draw(E, link->loss_stream, tx) >= link->loss)) return 0;
  }
  call_in(E, delay, kind, thing, number);
  return 1;
}

/* --- the clients ---------------------------------------------------------------------------------------------------------------------------- */

static void ended(Engine *E) {
  if (!E->head.over) {
    E->head.over = 1;
    if (ASK(E, ended())) fail(E, 3);
  }
}

static void schedule(Engine *E) {
  if (E->arrival_at == E->arrival_count) {
    E->arrival_count = ASK(E, arrivals(E->arrival, PAGE));
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
  Actor *actor = actor_of(E, tx, entry);
  notify(E, actor ? actor : spawn(E, tx, entry), E->head.request[E->tx[tx].shape], -1);
}

static void at_the_node(Engine *E, Call *call) {
  Head *H = &E->head;
  int64_t tx = call->tx;
  if (!E->node[call->entry].up) { unreached(E, call); return; }
  if (!wait(E, call->entry, (Waiting){.kind = AT_THE_NODE, .tx = tx})) request(E, tx);
  if (E->tx[tx].asking) { E->tx[tx].asking = 0; H->asking--; }
  if (!H->insists) free_call(E, call);
  else if (!H->remote) wait_for_answer(E, call);
}

static void ask(Engine *E, Call *call) {
  Head *H = &E->head;
  if (!H->remote) { at_the_node(E, call); return; }
  Link *link = link_of(E, CLIENT, call->entry);
  if (!carry(E, link, AT_THE_NODE, call, 0, call->tx)) unreached(E, call);
  else if (H->insists) wait_for_answer(E, call);
}

static void ask_again(Engine *E, Call *call) {
  Transaction *T = &E->tx[call->tx];
  if (T->answered == T->answered) {
    if (T->asking) { T->asking = 0; E->head.asking--; }
    return;
  }
  call->attempt++;
  E->head.repeated++;
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

static void arrive(Engine *E) {
  Head *H = &E->head;
  if (H->over) return;
  int64_t tx = H->asked++;
  double now = H->now;
  if (tx / PAGE >= E->pages) {
    if (ASK(E, plan(tx / PAGE))) { fail(E, 3); return; }
  }
  if (tx >= E->tx_room) {
    int64_t room = E->tx_room ? 2 * E->tx_room : PAGE;
    int64_t was = E->tx_room;
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
  Call *call = new_call(E);
  call->tx = tx;
  call->attempt = 0;
  call->entry = H->entry;
  ask(E, call);
  if (H->closed_workload) call_in(E, H->deadline, LOSE_PATIENCE, NULL, tx);
  if (H->transactions == H->asked) ended(E);
  else if (!H->closed_workload) schedule(E);
}

/* --- the workers ---------------------------------------------------------------------------------------------------------------------------- */

static void run_work(Engine *E, Work *work);
static void finish(Engine *E, Work *work, int status, int value);

static void served(Engine *E, Work *work) {
  if (work->epoch != E->node[work->node].pool.epoch) return;
  if (wait(E, work->node, (Waiting){.kind = SERVED, .thing = work})) hold_work(work);
  else run_work(E, work);
}

/* A worker begins on it, and its outbox rows, if it will have any, are numbered. */
static void begin_rows(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  int rows = template->accepted_rows > template->refused_rows ? template->accepted_rows : template->refused_rows;
  if (template->type == TRANSACT && !node->at_commit && rows) {
    work->number = node->next_row;
    node->next_row += rows;
  }
}

static int submit(Engine *E, Work *work, double demand) {
  Pool *pool = &E->node[work->node].pool;
  double now = E->head.now;
  if (pool->free) {
    pool->busy_time += (pool->workers - pool->free) * (now - pool->since);
    pool->since = now;
    pool->free--;
    work->epoch = pool->epoch;
    begin_rows(E, work);
    work->since = now;
    enter(&pool->served, now);
    pool->work += demand * pool->factor;
    if (demand > 0) {
      hold_work(work);
      push(E, now + demand * pool->factor, NORMAL, SERVED, work, 0);
    } else {
      served(E, work);
    }
    return 1;
  }
  if (pool->limit >= 0 && pool->waiting_count >= pool->limit) return 0;
  work->since = now;
  work->demand = demand;
  work->next = NULL;
  enter(&pool->waiting, now);
  if (pool->tail) pool->tail->next = work;
  else pool->head = work;
  pool->tail = work;
  pool->waiting_count++;
  return 1;
}

static void release_worker(Engine *E, Work *work) {
  Pool *pool = &E->node[work->node].pool;
  double now = E->head.now;
  leave(&pool->served, now, work->since);
  Work *following = pool->head;
  if (following) {
    pool->head = following->next;
    if (!pool->head) pool->tail = NULL;
    pool->waiting_count--;
    following->epoch = pool->epoch;
    begin_rows(E, following);
    leave(&pool->waiting, now, following->since);
    following->since = now;
    enter(&pool->served, now);
    pool->work += following->demand * pool->factor;
    hold_work(following);
    push(E, now + following->demand * pool->factor, NORMAL, SERVED, following, 0);
    return;
  }
  pool->busy_time += (pool->workers - pool->free) * (now - pool->since);
  pool->since = now;
  pool->free++;
}

/* --- the log device ------------------------------------------------------------------------------------------------------------------------- */

static inline int at_once(Disk *disk) { return disk->instant && !disk->stalled; }

static void note_instant(Engine *E, Disk *disk) {
  disk->durable_until = E->head.now;
  disk->flushes++;
}

static void start_flush(Engine *E, int number) {
  Disk *disk = &E->node[number].disk;
  Flush *batch = disk->head;
  if (disk->flush == SERIAL) {
    disk->head = batch->next;
    if (!disk->head) disk->tail = NULL;
    batch->next = NULL;
  } else {
    disk->head = disk->tail = NULL;
  }
  disk->busy = 1;
  disk->flushes++;
  double duration = draw(E, disk->stream, batch->tx);
  disk->busy_time += duration;
  batch->epoch = disk->epoch;
  batch->start = E->head.now;
  call_in(E, duration, BATCH, batch, number);
}

static void force(Engine *E, int number, Flush *flush, int64_t tx) {
  Disk *disk = &E->node[number].disk;
  flush->node = number;
  flush->tx = tx;
  flush->next = NULL;
  if (disk->flush == PARALLEL && !disk->stalled) {
    disk->flushes++;
    flush->epoch = disk->epoch;
    flush->start = E->head.now;
    call_in(E, draw(E, disk->stream, tx), FLUSHED, flush, number);
    return;
  }
  if (disk->tail) disk->tail->next = flush;
  else disk->head = flush;
  disk->tail = flush;
  if (!disk->busy && !disk->stalled) start_flush(E, number);
}

/* The device takes writes again. */
static void resume_disk(Engine *E, int number) {
  Disk *disk = &E->node[number].disk;
  disk->stalled = 0;
  if (!disk->head || disk->busy) return;
  if (disk->flush != PARALLEL) { start_flush(E, number); return; }
  Flush *waiting = disk->head;
  disk->head = disk->tail = NULL;
  while (waiting) {
    Flush *next = waiting->next;
    force(E, number, waiting, waiting->tx);
    waiting = next;
  }
}

static inline int buffered(Engine *E, Node *node, double since) { return E->head.now - since <= node->lazy_flush; }

static void free_records(Engine *E, Record *records) {
  while (records) {
    Record *next = records->next;
    free_record(E, records);
    records = next;
  }
}

static void not_lazy(Record *records) {
  for (; records; records = records->next) records->lazy = 0;
}

/* A record is written: the log of the node holds it, and a forced one takes the earlier ones of its transaction along. */
static void append(Engine *E, Actor *actor, int what, int forced) {
  if (actor->tx < 0) { fail(E, 11); return; }
  E->tx[actor->tx].durable |= 1u << actor->node;
  if (!E->head.crashes) return;
  Node *node = &E->node[actor->node];
  Place *place = have_place(E, actor->tx, actor->node);
  for (Record *one = place->records; one; one = one->next)
    if (one->what == what && (one->lazy || !forced)) { fail(E, 10); return; } /* Python tells records apart by identity */
  Record *one = new_record(E);
  *one = (Record){what, !forced, E->head.now, NULL};
  if (place->records) place->last_record->next = one;
  else place->records = one;
  place->last_record = one;
  if (!forced) {
    actor->lazy = 1;
  } else if (actor->lazy) {
    not_lazy(place->records);
    for (Ending *ending = node->first_ending; ending; ending = ending->next)
      if (ending->tx == actor->tx) not_lazy(ending->records);
  }
}

static void durable(Engine *E, Work *work);
static void finalise(Engine *E, Actor *actor, Work *branch, int commit, double in_doubt);

static void hardened(Engine *E, Actor *actor, int what) {
  Transaction *T = record(E, actor->tx);
  if (T) T->forced++;
  append(E, actor, what, 1);
}

/* A forced write of this machine is durable: on with the effects behind it. */
static void resume(Engine *E, Actor *actor) {
  if (!wait(E, actor->node, (Waiting){.kind = RESUME, .thing = actor})) go_on(E, actor);
}

static void call_back(Engine *E, Flush *flush) {
  Actor *actor = flush->actor;
  Work *work = flush->work;
  int what = flush->what, commit = !flush->forced_rollback;
  double in_doubt = flush->in_doubt;
  int written = flush->record;
  free_flush(E, flush);
  if (what == DURABLE) {
    durable(E, work);
  } else if (what == HARDENED) {
    hardened(E, actor, written);
    resume(E, actor);
  } else {
    finalise(E, actor, work, commit, in_doubt);
    resume(E, actor);
  }
}

static void flushed(Engine *E, Flush *flush) {
  Disk *disk = &E->node[flush->node].disk;
  if (flush->epoch != disk->epoch) return;
  if (flush->start > disk->durable_until) disk->durable_until = flush->start;
  call_back(E, flush);
}

static void batch_flushed(Engine *E, Flush *batch, int number) {
  Disk *disk = &E->node[number].disk;
  if (batch->epoch != disk->epoch) return;
  disk->busy = 0;
  disk->durable_until = batch->start;
  while (batch) {
    Flush *next = batch->next;
    call_back(E, batch);
    batch = next;
  }
  if (disk->head && !disk->busy && !disk->stalled) start_flush(E, number);
}

/* --- locks ---------------------------------------------------------------------------------------------------------------------------------- */

static void evaluate(Engine *E, Work *work);
static void acquire(Engine *E, Work *work);
static void release(Engine *E, Work *work);
static void drop(Engine *E, Work *work, int status);

static inline int is_branch(Engine *E, Work *work) { return E->learned.template[work->template].type != TRANSACT; }

static int operation_key(Engine *E, Work *work, Operation *operation) { return key_of(E, work->tx, operation->key); }

static void lockable(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  Work *branch = open_of(E, work->tx, work->node);
  work->keys = 0;
  int count = work->no_operations ? 0 : template->count;
  for (int i = 0; i < count; i++) {
    Operation *operation = &E->learned.operation[template->operations + i];
    if (!(operation->kind == ADD || operation->kind == SET || (operation->kind == READ && node->serializable))) continue;
    int key = operation_key(E, work, operation), known = 0;
    for (int j = 0; j < work->keys; j++) known |= work->locked[j] == key;
    if (branch)
      for (int j = 0; j < branch->keys; j++) known |= branch->locked[j] == key;
    if (known) continue;
    int at = work->keys++;
    while (at > 0 && strcmp(E->key[work->locked[at - 1]].name, E->key[key].name) > 0) {
      work->locked[at] = work->locked[at - 1];
      at--;
    }
    work->locked[at] = key;
  }
}

/* The rows of a node that are locked, in the order in which that began. */
static void link_owned(Engine *E, int key) {
  Node *node = &E->node[E->key[key].node];
  E->key[key].own_before = node->own_last;
  E->key[key].own_next = -1;
  if (node->own_last >= 0) E->key[node->own_last].own_next = key;
  else node->own_first = key;
  node->own_last = key;
}
static void unlink_owned(Engine *E, int key) {
  Node *node = &E->node[E->key[key].node];
  int before = E->key[key].own_before, next = E->key[key].own_next;
  if (before >= 0) E->key[before].own_next = next;
  else node->own_first = next;
  if (next >= 0) E->key[next].own_before = before;
  else node->own_last = before;
}
/* Likewise, those that somebody waits for. */
static void link_waited(Engine *E, int key) {
  Node *node = &E->node[E->key[key].node];
  E->key[key].wait_before = node->wait_last;
  E->key[key].wait_next = -1;
  if (node->wait_last >= 0) E->key[node->wait_last].wait_next = key;
  else node->wait_first = key;
  node->wait_last = key;
}
static void unlink_waited(Engine *E, int key) {
  Node *node = &E->node[E->key[key].node];
  int before = E->key[key].wait_before, next = E->key[key].wait_next;
  if (before >= 0) E->key[before].wait_next = next;
  else node->wait_first = next;
  if (next >= 0) E->key[next].wait_before = before;
  else node->wait_last = before;
}

static void own(Engine *E, Work *work, int key) {
  Key *row = &E->key[key];
  if (row->owner != work) {
    if (!row->owner) {
      E->node[work->node].owners++;
      link_owned(E, key);
    }
    row->owner = work;
    work->locked_from += E->head.now;
  }
}

static void hold(Engine *E, Work *work) {
  if (!work->keys) lockable(E, work);
  for (int i = 0; i < work->keys; i++) own(E, work, work->locked[i]);
}

static void end_wait(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  Transaction *T = record(E, work->tx);
  double seconds = E->head.now - work->wait_since;
  leave(&node->lock_waits, E->head.now, work->wait_since);
  work->wait_since = -1.0;
  if (T) T->lock_wait += seconds;
}

static void leave_queue(Engine *E, Work *work) {
  if (work->waits_for >= 0) {
    Key *row = &E->key[work->waits_for];
    Work **at = &row->head, *last = NULL;
    while (*at && *at != work) { last = *at; at = &(*at)->queued; }
    if (*at) {
      *at = work->queued;
      if (row->tail == work) row->tail = last;
      if (!row->head) unlink_waited(E, work->waits_for);
      E->node[work->node].lock_queue--;
    }
    work->waits_for = -1;
  }
  end_wait(E, work);
  release(E, work);
}

static int same(Engine *E, Work *a, Work *b) { return a == b || (a->tx == b->tx && is_branch(E, a) && is_branch(E, b)); }

/* Whether somebody for whom this one waits waits for it in turn: simtx.simulator.deadlocks. */
static int reaches(Engine *E, Work *from, Work *work) {
  for (int number = 0; number < E->head.nodes; number++) {
    Work *waiting = NULL;
    if (number == from->node && from->wait_since >= 0) {
      waiting = from;
    } else if (is_branch(E, from)) {
      Actor *actor = actor_of(E, from->tx, number);
      waiting = actor ? actor->work : NULL;
      if (waiting && (waiting->wait_since < 0 || waiting->waits_for < 0 || !same(E, waiting, from))) waiting = NULL;
    }
    if (!waiting || waiting->waits_for < 0 || waiting->scanned == E->seen) continue; /* else those before it are known already */
    Key *row = &E->key[waiting->waits_for];
    Work *blocker = row->owner, *next = row->head;
    while (blocker && blocker != waiting) {
      if (same(E, blocker, work)) return 1;
      if (blocker->waits_for == waiting->waits_for) blocker->scanned = E->seen;
      if (blocker->seen != E->seen) {
        blocker->seen = E->seen;
        if (reaches(E, blocker, work)) return 1;
      }
      blocker = next;
      next = next ? next->queued : NULL;
    }
  }
  return 0;
}

static int may_wait(Engine *E, Work *work) {
  int refused = 0;
  if (E->head.deadlocks == BY_TIMEOUT) return 1;
  if (E->head.deadlocks == BY_AGE) {
    Key *row = &E->key[work->waits_for];
    if (is_branch(E, work)) {
      refused = work->tx > row->owner->tx;
      for (Work *other = row->head; other != work; other = other->queued) refused |= work->tx > other->tx;
    }
  } else {
    E->seen++;
    refused = reaches(E, work, work);
  }
  if (refused) E->head.victims++;
  return !refused;
}

static void wait_for(Engine *E, Work *work, int key) {
  Node *node = &E->node[work->node];
  if (work->wait_since < 0) {
    work->wait_since = E->head.now;
    enter(&node->lock_waits, E->head.now);
    hold_work(work);
    call_in(E, node->lock_timeout, GIVE_UP, work, 0);
  }
  Key *row = &E->key[key];
  work->waits_for = key;
  work->queued = NULL;
  if (row->tail) row->tail->queued = work;
  else {
    row->head = work;
    link_waited(E, key);
  }
  row->tail = work;
  node->lock_queue++;
  if (!may_wait(E, work)) {
    leave_queue(E, work);
    drop(E, work, FAILURE);
  }
}

static void acquire(Engine *E, Work *work) {
  for (int i = 0; i < work->keys; i++) {
    Work *owner = E->key[work->locked[i]].owner;
    if (owner && owner != work) {
      for (int j = 0; j < i; j++) own(E, work, work->locked[j]);
      wait_for(E, work, work->locked[i]);
      return;
    }
  }
  if (work->wait_since >= 0) end_wait(E, work);
  evaluate(E, work);
}

static void give_up(Engine *E, Work *work) {
  if (work->wait_since >= 0 && !work->ended && work->actor->gen == work->gen) {
    leave_queue(E, work);
    E->head.timeouts++;
    drop(E, work, FAILURE);
  }
}

static void count_locks(Engine *E, Work *work, int freed) {
  if (!freed) return;
  Node *node = &E->node[work->node];
  Transaction *T = record(E, work->tx);
  double seconds = E->head.now * freed - work->locked_from;
  work->locked_from = 0.0;
  node->locks_taken += freed;
  node->locks_held += seconds;
  if (T) T->lock_hold += seconds;
}

static void release(Engine *E, Work *work) {
  int freed = 0, mine[256], followers = 0, follower_key[256];
  Work *follower[256];
  for (int i = 0; i < work->keys; i++)
    if (E->key[work->locked[i]].owner == work) {
      if (freed == 256) { fail(E, 6); return; }
      mine[freed++] = work->locked[i];
    }
  if (!freed) return;
  count_locks(E, work, freed);
  for (int i = 0; i < freed; i++) {
    Key *row = &E->key[mine[i]];
    row->owner = NULL;
    E->node[work->node].owners--;
    unlink_owned(E, mine[i]);
    if (row->head) {
      Work *next = row->head;
      row->head = next->queued;
      if (!row->head) {
        row->tail = NULL;
        unlink_waited(E, mine[i]);
      }
      E->node[work->node].lock_queue--;
      next->waits_for = -1;
      own(E, next, mine[i]);
      hold_work(next);
      follower_key[followers] = mine[i];
      follower[followers++] = next;
    }
  }
  for (int i = 0; i < followers; i++) {
    if (E->key[follower_key[i]].owner == follower[i]) acquire(E, follower[i]);
    let_work(E, follower[i]);
  }
}

/* --- the store ------------------------------------------------------------------------------------------------------------------------------ */

static inline uint32_t *row_at(Engine *E, int64_t tx, int key) { return &E->rows[tx * E->row_room + key]; }

static int row_of(Engine *E, Node *node, int64_t tx, int key) { /* 0: there is none */
  uint32_t row = *row_at(E, tx, key);
  return row && (row >> 6) + 1 >= node->generation ? (int)(row & 63) : 0;
}

static void write_row(Engine *E, Node *node, int64_t tx, int key, int value) {
  *row_at(E, tx, key) = node->generation << 6 | (uint32_t)value;
}

static void rotate(Engine *E, Node *node) {
  double now = E->head.now;
  if (now < node->rotate_at) return;
  node->generation += now < node->rotate_at + node->retention ? 1 : 2;
  node->rotate_at = now + node->retention;
}

static int changed_at(Work *work, int key) {
  for (int i = 0; i < work->changes; i++)
    if (work->changed[i] == key) return i;
  return -1;
}

/* A commit leaves the primary; it never becomes visible before an earlier one. */
static void ship(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  double visible = E->head.now + draw(E, node->lag, work->tx);
  if (node->last_shipped && node->last_shipped->visible > visible) visible = node->last_shipped->visible;
  for (int i = 0; i < work->changes; i++) {
    Shipped *one = new_shipped(E);
    *one = (Shipped){visible, work->values[i], work->changed[i], NULL};
    if (node->last_shipped) node->last_shipped->next = one;
    else node->first_shipped = one;
    node->last_shipped = one;
  }
}

/* The value that a reader gets at the replica. */
static double read_replica(Engine *E, Node *node, Key *row) {
  while (node->first_shipped && node->first_shipped->visible <= E->head.now) {
    Shipped *one = node->first_shipped;
    node->first_shipped = one->next;
    if (!one->next) node->last_shipped = NULL;
    E->key[one->key].replica = one->value;
    free_shipped(E, one);
  }
  node->replica_reads++;
  if (row->replica != row->value) node->stale_reads++;
  return row->replica;
}

static int play_operations(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  int count = work->no_operations ? 0 : template->count;
  for (int i = 0; i < count; i++) {
    Operation *operation = &E->learned.operation[template->operations + i];
    if (operation->kind == REFUSE) return 0;
    int key = operation_key(E, work, operation), at = changed_at(work, key);
    Key *row = &E->key[key];
    double value;
    if (operation->kind == READ) {
      value = at >= 0 ? work->values[at] : node->lag ? read_replica(E, node, row) : row->value;
    } else {
      double amount = amount_of(E, work->tx, operation->amount);
      value = operation->kind == ADD ? (at >= 0 ? work->values[at] : row->value) + amount : amount;
    }
    if ((operation->has_low && value < operation->low) || (operation->has_high && value > operation->high)) return 0;
    if (operation->kind == READ) continue;
    if (at < 0) {
      at = work->changes++;
      work->changed[at] = key;
    }
    work->values[at] = value;
  }
  return 1;
}

static void apply(Engine *E, Work *work, uint64_t steps, int compensation) {
  if (!work->changes) return;
  int moved = 0;
  double shifts[QUANTITIES] = {0};
  for (int i = 0; i < work->changes; i++) {
    Key *row = &E->key[work->changed[i]];
    for (int j = 0; j < row->weights; j++) {
      double change = work->values[i] - row->value;
      moved = 1;
      for (int q = 0; q < E->head.quantities; q++) shifts[q] += row->weight[j * E->head.quantities + q] * change;
    }
  }
  int closed = !record(E, work->tx);
  for (int i = 0; i < work->changes; i++) {
    Key *row = &E->key[work->changed[i]];
    if (closed) row->late += work->values[i] - row->value;
    row->value = work->values[i];
    row->has_value = 1;
  }
  if (E->node[work->node].lag) ship(E, work);
  if (record(E, work->tx)) effect(E, work->tx, steps, compensation, moved ? shifts : NULL, E->head.now);
}

static void end_work(Engine *E, Work *work) { /* nobody will come back to it */
  if (work->ended) return;
  work->ended = 1;
  let_work(E, work);
}

static void finish(Engine *E, Work *work, int status, int value) {
  if (work->epoch >= 0) release_worker(E, work);
  Actor *actor = work->actor;
  Template *template = &E->learned.template[work->template];
  Place *place = template->type == TRANSACT ? NULL : find_place(E, work->tx, work->node);
  if (!(place && (place->prepared == work || place->open == work))) end_work(E, work);
  if (!actor->alive || actor->gen != work->gen) return;
  actor->work = NULL;
  Transaction *T = record(E, actor->tx);
  if (status == REFUSED && T) T->refused = 1;
  int32_t event;
  if (status == DONE) event = template->on_done;
  else if (status == REFUSED) event = template->on_refused;
  else if (status == FAILURE) event = template->on_failed;
  else {
    event = template->on_duplicate[value];
    if (event < 0) {
      event = ASK(E, duplicate(work->template, value));
      if (event < 0) { fail(E, 3); return; }
    }
  }
  if (wait(E, actor->node, (Waiting){.kind = TELL, .event = event, .thing = actor, .gen = actor->gen})) return;
  actor->done = event;
  int submitting = actor->phase == SUBMITTING;
  actor->phase = BUSY;
  if (!submitting) go_on(E, actor);
}

static void drop(Engine *E, Work *work, int status) {
  if (E->node[work->node].open && is_branch(E, work)) {
    Place *place = find_place(E, work->tx, work->node);
    if (place && place->open) {
      Work *branch = place->open;
      place->open = NULL;
      E->node[work->node].open--;
      release(E, branch);
      end_work(E, branch);
    }
  }
  finish(E, work, status, 0);
}

static void refuse(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  work->status = REFUSED;
  work->changes = 0;
  if (template->type == TRANSACT && template->has_refused) {
    work->row = template->refused;
    release(E, work);
    Disk *disk = &E->node[work->node].disk;
    work->forced = 1;
    if (at_once(disk)) {
      note_instant(E, disk);
      durable(E, work);
      return;
    }
    Flush *flush = new_flush(E);
    flush->what = DURABLE;
    flush->work = work;
    force(E, work->node, flush, work->tx);
    return;
  }
  release(E, work);
  drop(E, work, REFUSED);
}

static void harden(Engine *E, Work *work) {
  Disk *disk = &E->node[work->node].disk;
  work->forced = 1;
  if (at_once(disk)) {
    note_instant(E, disk);
    if (E->learned.template[work->template].type == PREPARE) hold(E, work);
    durable(E, work);
    return;
  }
  if (work->status == DONE) hold(E, work);
  Flush *flush = new_flush(E);
  flush->what = DURABLE;
  flush->work = work;
  force(E, work->node, flush, work->tx);
}

/* A row is visible from now on, in the order of its number. */
static void show_row(Node *node, Row *row) {
  Row *before = node->last_row;
  while (before && before->number > row->number) before = before->before;
  row->before = before;
  row->next = before ? before->next : node->first_row;
  if (row->next) row->next->before = row;
  else node->last_row = row;
  if (before) before->next = row;
  else node->first_row = row;
  node->rows++;
}

/* The outbox rows of a local transaction appear, in the order of their numbers, and the relay is woken if the strategy wants it. */
static void commit_rows(Engine *E, Work *work, int refused) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  int count = refused ? template->refused_rows : template->accepted_rows;
  if (!count) return;
  int64_t number = work->number;
  if (number < 0) {
    number = node->next_row;
    node->next_row += count;
  }
  for (int i = 0; i < count; i++) {
    int32_t event = refused ? template->refused_row[i] : template->accepted_row[i];
    int32_t claim = event < E->learned.claim_room ? E->learned.claim[event] - 1 : -1;
    if (claim >= 0 && E->claims && record(E, work->tx)) E->claims[work->tx].step[claim / STEPS] |= 1ull << claim % STEPS;
    Row *row = new_row(E);
    *row = (Row){number + i, work->tx, refused ? template->refused_row[i] : template->accepted_row[i], 0, 0.0, NULL, NULL, NULL};
    show_row(node, row);
  }
  if (E->head.wake_on_commit && node->relay.actor) call_in(E, 0.0, WAKE, node->relay.actor, node->relay.actor->gen);
}

static void commit_work(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  Transaction *T = record(E, work->tx);
  if (T) T->forced++;
  int status = work->status;
  if (template->key >= 0) {
    rotate(E, node);
    int value = work->row;
    if (!value) value = status == REFUSED ? E->head.refused_value : E->head.done_value;
    write_row(E, node, work->tx, template->key, value);
  }
  if (work->tombstone) write_row(E, node, work->tx, template->undoes, E->head.tombstone_value);
  if (work->changes && status == DONE) apply(E, work, work->steps, template->compensation);
  if (template->accepted_rows | template->refused_rows) commit_rows(E, work, status == REFUSED);
  if (work->keys) release(E, work);
  finish(E, work, status, 0);
}

static void add_prepared(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  have_place(E, work->tx, work->node)->prepared = work;
  node->prepared++;
  work->prior = node->last_prepared;
  work->later = NULL;
  if (node->last_prepared) node->last_prepared->later = work;
  else node->first_prepared = work;
  node->last_prepared = work;
}
static void take_prepared(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  have_place(E, work->tx, work->node)->prepared = NULL;
  node->prepared--;
  if (work->prior) work->prior->later = work->later;
  else node->first_prepared = work->later;
  if (work->later) work->later->prior = work->prior;
  else node->last_prepared = work->prior;
}

static void prepared(Engine *E, Work *work) {
  Transaction *T = record(E, work->tx);
  work->prepared_since = E->head.now;
  add_prepared(E, work);
  if (T) { T->forced++; T->prepared++; }
  finish(E, work, DONE, 0);
}

static void durable(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  int known;
  if (template->type != TRANSACT) {
    prepared(E, work);
  } else if (template->key < 0 || !(known = row_of(E, &E->node[work->node], work->tx, template->key))) {
    commit_work(E, work);
  } else {
    Transaction *T = record(E, work->tx);
    if (T) T->forced++;
    release(E, work);
    finish(E, work, DUPLICATE, known);
  }
}

static void run_at_once(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  if (play_operations(E, work)) {
    work->row = template->accepted;
    if (!work->changes && template->key < 0 && !template->accepted_rows) {
      finish(E, work, DONE, 0);
      return;
    }
  } else {
    work->status = REFUSED;
    work->changes = 0;
    if (!template->has_refused) {
      finish(E, work, REFUSED, 0);
      return;
    }
    work->row = template->refused;
  }
  work->forced = 1;
  note_instant(E, &E->node[work->node].disk);
  commit_work(E, work);
}

static void merge(Engine *E, Work *branch, Work *work) {
  branch->changes = work->changes;
  memcpy(branch->changed, work->changed, (size_t)work->changes * sizeof(int32_t));
  memcpy(branch->values, work->values, (size_t)work->changes * sizeof(double));
  for (int i = 0; i < work->keys; i++) {
    own(E, work, work->locked[i]);
    E->key[work->locked[i]].owner = branch;
    branch->locked[branch->keys++] = work->locked[i];
  }
  branch->locked_from += work->locked_from;
  branch->steps |= work->steps;
  if (E->learned.template[work->template].type == PREPARE) {
    work->keys = branch->keys;
    memcpy(work->locked, branch->locked, (size_t)branch->keys * sizeof(int32_t));
    work->locked_from = branch->locked_from;
    work->steps = branch->steps;
    for (int i = 0; i < work->keys; i++) E->key[work->locked[i]].owner = work;
    have_place(E, work->tx, work->node)->open = NULL;
    E->node[work->node].open--;
    end_work(E, branch);
  }
}

static void evaluate(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Work *branch = open_of(E, work->tx, work->node);
  if (branch) {
    work->changes = branch->changes;
    memcpy(work->changed, branch->changed, (size_t)branch->changes * sizeof(int32_t));
    memcpy(work->values, branch->values, (size_t)branch->changes * sizeof(double));
  }
  if (!play_operations(E, work)) {
    refuse(E, work);
    return;
  }
  if (template->type == TRANSACT) {
    work->row = template->accepted;
    if (!work->changes && template->key < 0 && !template->accepted_rows) {
      release(E, work);
      finish(E, work, DONE, 0);
      return;
    }
  } else if (branch) {
    merge(E, branch, work);
    if (template->type == EXECUTE) {
      finish(E, work, DONE, 0);
      return;
    }
  } else if (template->type == EXECUTE) {
    hold(E, work);
    have_place(E, work->tx, work->node)->open = work;
    E->node[work->node].open++;
    finish(E, work, DONE, 0);
    return;
  }
  harden(E, work);
}

static void run_work(Engine *E, Work *work) {
  Template *template = &E->learned.template[work->template];
  Node *node = &E->node[work->node];
  if (template->key >= 0) {
    int known = row_of(E, node, work->tx, template->key);
    if (known) {
      finish(E, work, DUPLICATE, known);
      return;
    }
  }
  if (template->undoes >= 0) {
    int action = row_of(E, node, work->tx, template->undoes);
    if (action != template->undone_if) {
      work->no_operations = 1;
      if (!action) work->tombstone = 1;
    }
  }
  if (!node->owners && !node->open) {
    if (at_once(&node->disk) && template->type == TRANSACT) run_at_once(E, work);
    else evaluate(E, work);
    return;
  }
  if (!work->no_operations && template->count && E->learned.operation[template->operations].kind == REFUSE) {
    refuse(E, work);
    return;
  }
  lockable(E, work);
  acquire(E, work);
}

static void commit_prepared(Engine *E, Work *branch) {
  Template *template = &E->learned.template[branch->template];
  Node *node = &E->node[branch->node];
  take_prepared(E, branch);
  if (template->type == PREPARE) {
    if (template->key >= 0) {
      rotate(E, node);
      write_row(E, node, branch->tx, template->key, E->head.done_value);
    }
    apply(E, branch, branch->steps, 0);
  }
  release(E, branch);
  end_work(E, branch);
  drop_place(E, branch->tx, branch->node);
}

static int survives(Engine *E, Node *node, double since) {
  return node->disk.durable_until >= since || E->head.now - since > node->lazy_flush;
}

static void roll_back(Engine *E, Work *branch, int lazy) {
  Node *node = &E->node[branch->node];
  Place *place = have_place(E, branch->tx, branch->node);
  if (place->open) { place->open = NULL; node->open--; }
  if (place->prepared) {
    take_prepared(E, place->prepared);
    if (lazy && E->head.crashes) {
      Rolled *rolled = new_rolled(E);
      *rolled = (Rolled){E->head.now, branch, NULL};
      hold_work(branch);
      if (node->last_rolled) node->last_rolled->next = rolled;
      else node->first_rolled = rolled;
      node->last_rolled = rolled;
      while (node->first_rolled && survives(E, node, node->first_rolled->since)) {
        Rolled *old = node->first_rolled;
        node->first_rolled = old->next;
        if (!node->first_rolled) node->last_rolled = NULL;
        let_work(E, old->branch);
        free_rolled(E, old);
      }
    }
  }
  release(E, branch);
  end_work(E, branch);
  drop_place(E, branch->tx, branch->node);
}

static void finalise(Engine *E, Actor *actor, Work *branch, int commit, double in_doubt) {
  Transaction *T = record(E, actor->tx);
  if (T) { T->forced++; T->in_doubt += in_doubt; }
  if (commit) commit_prepared(E, branch);
  else roll_back(E, branch, 0);
}

/* Commit or roll back the branch; 0 if the machine has to wait for the disk. */
static int second_phase(Engine *E, Actor *actor, int commit, int forced) {
  Place *place = find_place(E, actor->tx, actor->node);
  Work *branch = place ? place->prepared : NULL;
  Transaction *T = record(E, actor->tx);
  if (!branch) {
    branch = place ? place->open : NULL;
    if (branch && !commit) roll_back(E, branch, 0);
    return 1;
  }
  double in_doubt = E->head.now - branch->prepared_since;
  branch->actor = actor;
  branch->gen = actor->gen;
  if (!commit && !forced) {
    if (T) { T->lazy++; T->in_doubt += in_doubt; }
    roll_back(E, branch, 1);
    return 1;
  }
  Disk *disk = &E->node[actor->node].disk;
  if (at_once(disk)) {
    note_instant(E, disk);
    finalise(E, actor, branch, commit, in_doubt);
    return 1;
  }
  Flush *flush = new_flush(E);
  flush->what = FINALISED;
  flush->actor = actor;
  flush->work = branch;
  flush->forced_rollback = !commit;
  flush->in_doubt = in_doubt;
  force(E, actor->node, flush, actor->tx);
  return 0;
}

/* A worker takes it, or it waits for one, or for the end of an outage. */
static void submit_made(Engine *E, Work *work) {
  Node *node = &E->node[work->node];
  if (node->outage) {
    work->next = NULL;
    if (node->last_stalled) node->last_stalled->next = work;
    else node->first_stalled = work;
    node->last_stalled = work;
    return;
  }
  Template *template = &E->learned.template[work->template];
  Transaction *T = record(E, work->tx);
  if (open_of(E, work->tx, work->node)) {
    begin_rows(E, work);
    run_work(E, work);
    return;
  }
  double demand = 0.0;
  if (T)
    for (int i = 0; i < template->steps; i++) {
      int step = template->step[i];
      if (template->type == TRANSACT && template->compensation) demand += draw(E, E->head.undo[step], work->tx);
      else demand += E->demands[work->tx * E->head.steps + step];
    }
  if (!submit(E, work, demand)) drop(E, work, FAILURE);
}

static void submit_work(Engine *E, Actor *actor, int number) {
  Template *template = &E->learned.template[number];
  Work *work = new_work(E);
  work->actor = actor;
  work->gen = actor->gen;
  work->template = number;
  work->node = actor->node;
  work->tx = actor->tx;
  work->refs = 1;
  work->epoch = -1;
  work->status = DONE;
  work->forced = work->row = work->tombstone = work->no_operations = work->ended = 0;
  work->changes = work->keys = 0;
  work->locked_from = work->since = work->prepared_since = 0.0;
  work->wait_since = -1.0;
  work->waits_for = -1;
  work->number = -1;
  work->seen = work->scanned = 0;
  work->steps = 0;
  for (int i = 0; i < template->steps; i++) work->steps |= (uint64_t)1 << template->step[i];
  actor->work = work;
  submit_made(E, work);
}

/* --- the interpreter of effects ---------------------------------------------------------------------------------------------------------------- */

static Actor *spawn(Engine *E, int64_t tx, int node) {
  Transaction *T = record(E, tx);
  Actor *actor = new_actor(E);
  actor->tx = tx;
  actor->node = node;
  actor->state = E->node[node].initial;
  actor->pc = actor->end = 0;
  actor->done = -1;
  actor->timers = 0;
  actor->phase = IDLE;
  actor->alive = 1;
  actor->is_relay = actor->lazy = 0;
  actor->head = actor->tail = NULL;
  actor->work = NULL;
  for (int i = 0; i < TIMERS; i++) actor->timer[i] = NULL;
  if (T) T->actors++;
  have_place(E, tx, node)->actor = actor;
  return actor;
}

static void post(Engine *E, Actor *actor, int32_t event, int64_t id) {
  Mail *mail = new_mail(E);
  mail->event = event;
  mail->id = id;
  mail->next = NULL;
  if (actor->tail) actor->tail->next = mail;
  else actor->head = mail;
  actor->tail = mail;
}

/* An event happens to a machine; `id` is that of a delivery, else -1. */
static void notify(Engine *E, Actor *actor, int32_t event, int64_t id) {
  if (actor->phase) post(E, actor, event, id);
  else play(E, actor, event, id);
}

static void receive(Engine *E, int64_t tx, int32_t event) {
  int node = E->learned.event_node[event];
  if (!E->node[node].up || wait(E, node, (Waiting){.kind = MESSAGE, .event = event, .tx = tx})) return;
  int sender = E->learned.event_sender[event];
  if (E->head.has_breakers && sender >= 0) call_succeeded(E, node, sender);
  Actor *actor = actor_of(E, tx, node);
  if (!actor) actor = spawn(E, tx, node);
  else if (actor->phase) { post(E, actor, event, -1); return; }
  play(E, actor, event, -1);
}

static void free_it(Engine *E, Actor *actor) {
  Place *place = find_place(E, actor->tx, actor->node);
  if (place && place->actor == actor) {
    place->actor = NULL;
    drop_place(E, actor->tx, actor->node);
    Transaction *T = record(E, actor->tx);
    if (T) { T->actors--; T->last_activity = E->head.now; }
  }
  actor->alive = 0;
  cancel_timers(actor);
}

static void recycle(Engine *E, Actor *actor) {
  actor->gen++;
  free_actor(E, actor);
}

static void forget(Engine *E, Actor *actor) {
  int64_t tx = actor->tx;
  int node = actor->node;
  free_it(E, actor);
  if (tx >= 0) E->tx[tx].durable &= ~(1u << node);
  Place *place = E->head.crashes ? find_place(E, tx, node) : NULL;
  if (place && place->records) { /* that they are garbage is written lazily, too */
    Node *N = &E->node[node];
    Ending *ending = new_ending(E);
    *ending = (Ending){tx, E->head.now, place->records, NULL};
    place->records = place->last_record = NULL;
    drop_place(E, tx, node);
    if (N->last_ending) N->last_ending->next = ending;
    else N->first_ending = ending;
    N->last_ending = ending;
    while (!buffered(E, N, N->first_ending->since)) {
      Ending *old = N->first_ending;
      N->first_ending = old->next;
      free_records(E, old->records);
      free_ending(E, old);
    }
  }
  Mail *mail = actor->head;
  actor->head = actor->tail = NULL;
  while (mail) {
    Mail *next = mail->next;
    int32_t event = mail->event;
    int64_t id = mail->id;
    free_mail(E, mail);
    Actor *other = actor_of(E, tx, node);
    notify(E, other ? other : spawn(E, tx, node), event, id);
    mail = next;
  }
}

/* --- the broker ----------------------------------------------------------------------------------------------------------------------------- */

enum { BUCKETS = 1 << 16 };

static void publish(Engine *E, Actor *actor, int32_t event, int64_t tx, int32_t on_done, int32_t on_failed);

/* The broker's word on a publication reaches its producer: `event` for a machine, whether it is `done` for a relay. */
static void tell_producer(Engine *E, Actor *actor, uint32_t gen, int64_t tx, int done, int32_t event) {
  if (!actor->alive || actor->gen != gen) return;
  if (wait(E, actor->node, (Waiting){.kind = CONFIRM, .event = event, .gen = gen, .tx = tx, .number = done, .thing = actor})) return;
  if (actor->is_relay) relay_published(E, actor, tx, done);
  else notify(E, actor, event, -1);
}

static void confirm(Engine *E, Publication *publication, int done) {
  tell_producer(E, publication->actor, publication->gen, publication->tx, done, done ? publication->on_done : publication->on_failed);
}

static void receive_delivery(Engine *E, int64_t tx, int32_t event, int64_t id) {
  int node = E->learned.event_node[event];
  if (!E->node[node].up || wait(E, node, (Waiting){.kind = DELIVER, .event = event, .tx = tx, .number = id})) return;
  Actor *actor = actor_of(E, tx, node);
  notify(E, actor ? actor : spawn(E, tx, node), event, id);
}

static void let_publication(Engine *E, Publication *publication) {
  if (--publication->refs == 0) free_publication(E, publication);
}

static void leave_producer(Engine *E, Publication *publication) {
  if (publication->epoch != E->node[publication->node].disk.epoch) return;
  if (wait(E, publication->node, (Waiting){.kind = LEAVE, .thing = publication})) {
    publication->refs++;
    return;
  }
  publication->refs += transmit(E, link_of(E, publication->node, BROKER), AT_THE_BROKER, publication, 0, publication->tx);
}

/* Take a message from a producer's hands: the bytes leave after the linger time. */
static void publish(Engine *E, Actor *actor, int32_t event, int64_t tx, int32_t on_done, int32_t on_failed) {
  Transaction *T = record(E, tx);
  if (T) T->broker_messages++;
  Publication *publication = new_publication(E);
  Token *token = new_token(E);
  *publication = (Publication){actor, actor->gen, actor->node, event, on_done, on_failed, 2, 1, E->node[actor->node].disk.epoch, tx, token, NULL};
  token->owner = publication;
  token->kind = PUBLISH_TIMEOUT;
  start_timer(E, token, E->head.publish_timeout, 0.0);
  double linger = draw(E, E->head.linger, tx);
  if (linger > 0) {
    call_in(E, linger, LEAVE, publication, 0);
  } else {
    leave_producer(E, publication);
    let_publication(E, publication);
  }
}

static void time_out(Engine *E, Publication *publication) {
  publication->timeout = NULL;
  if (publication->open) {
    publication->open = 0;
    confirm(E, publication, 0);
  }
  let_publication(E, publication);
}

static void deliver(Engine *E, Parcel *parcel) {
  Transaction *T = record(E, parcel->tx);
  if (E->node[parcel->node].up && parcel->sent) {
    E->head.redelivered++;
    if (T) T->retries++;
  }
  if (E->node[parcel->node].up) parcel->sent = 1;
  if (E->node[parcel->node].up)
    transmit(E, link_of(E, BROKER, parcel->node), DELIVER, (void *)(intptr_t)parcel->id, parcel->tx << 24 | parcel->event, parcel->tx);
  Token *token = parcel->timer = new_token(E);
  token->owner = parcel;
  token->kind = REDELIVERY;
  start_timer(E, token, E->head.redelivery, 0.0);
}

static void remove_parcel(Engine *E, Parcel *parcel) {
  Parcel **at = &E->parcel[parcel->id & (BUCKETS - 1)];
  while (*at != parcel) at = &(*at)->next;
  *at = parcel->next;
  E->head.parcels--;
  E->node[parcel->node].held--;
  if (parcel->timer) parcel->timer->owner = NULL;
  if (E->head.in_order) {
    Place *place = have_place(E, parcel->tx, parcel->node);
    Parcel **one = &place->head, *last = NULL;
    int first = place->head == parcel;
    while (*one && *one != parcel) { last = *one; one = &(*one)->behind; }
    if (*one) *one = parcel->behind;
    if (place->tail == parcel) place->tail = last;
    Parcel *next = place->head;
    if (!next) drop_place(E, parcel->tx, parcel->node);
    else if (first) deliver(E, next);
  }
  free_parcel(E, parcel);
}

static void redeliver(Engine *E, Parcel *parcel) {
  parcel->timer = NULL;
  if (!E->head.broker_up) return;
  if (E->head.has_retention && E->head.now - parcel->stored > E->head.retention) {
    E->head.lost++;
    remove_parcel(E, parcel);
  } else {
    deliver(E, parcel);
  }
}

static int is_duplicate(Engine *E, int64_t tx, int32_t event) {
  double now = E->head.now, window = E->head.deduplication;
  if (window <= 0) return 0;
  while (E->seen_first && !(E->seen_first->since >= now - window)) {
    Seen *old = E->seen_first, **at = &E->seen_at[mix(old->tx, old->event) & (BUCKETS - 1)];
    while (*at != old) at = &(*at)->next;
    *at = old->next;
    E->seen_first = old->behind;
    if (!E->seen_first) E->seen_last = NULL;
    free_seen(E, old);
  }
  Seen **bucket = &E->seen_at[mix(tx, event) & (BUCKETS - 1)];
  for (Seen *one = *bucket; one; one = one->next)
    if (one->tx == tx && one->event == event) return 1;
  Seen *one = new_seen(E);
  *one = (Seen){tx, event, 0, now, *bucket, NULL};
  *bucket = one;
  if (E->seen_last) E->seen_last->behind = one;
  else E->seen_first = one;
  E->seen_last = one;
  return 0;
}

static void store_message(Engine *E, Publication *publication) {
  if (!E->head.broker_up) return;
  int64_t tx = publication->tx;
  int32_t event = publication->event;
  if (!is_duplicate(E, tx, event)) {
    Parcel *parcel = new_parcel(E);
    *parcel = (Parcel){.id = E->head.next_parcel++, .tx = tx, .event = event, .node = E->learned.event_node[event], .stored = E->head.now};
    Parcel **bucket = &E->parcel[parcel->id & (BUCKETS - 1)];
    parcel->next = *bucket;
    *bucket = parcel;
    E->head.parcels++;
    E->node[parcel->node].held++;
    int first = 1;
    parcel->lane = E->next_lane++;
    if (E->head.in_order) {
      Place *place = have_place(E, tx, parcel->node);
      first = !place->head;
      if (first) place->head = parcel;
      else { place->tail->behind = parcel; parcel->lane = place->head->lane; }
      place->tail = parcel;
    }
    if (first) deliver(E, parcel);
  }
  publication->refs += transmit(E, link_of(E, BROKER, publication->node), CONFIRM, publication, 0, tx);
}

static void confirmed(Engine *E, Publication *publication) {
  if (!publication->open) return;
  publication->open = 0;
  if (publication->timeout) {
    publication->timeout->owner = NULL;
    publication->timeout = NULL;
    publication->refs--; /* the token's: the caller holds another one */
  }
  confirm(E, publication, 1);
}

static void acknowledged(Engine *E, int64_t id) {
  for (Parcel *parcel = E->parcel[id & (BUCKETS - 1)]; parcel; parcel = parcel->next)
    if (parcel->id == id) {
      if (E->head.broker_up) remove_parcel(E, parcel);
      return;
    }
}

/* Stop answering. Acked in memory only means: lost now, and so are the ids by which repetitions are known. */
EXPORT void engine_broker_crash(Engine *E, int memory, int keeps_all, int keeps_stored) {
  GUARD(E, )
  E->head.broker_up = 0;
  for (int i = 0; i < BUCKETS; i++)
    for (Parcel *parcel = E->parcel[i], *next; parcel; parcel = next) {
      next = parcel->next;
      parcel->sent = 0;
      if (parcel->timer) parcel->timer->owner = NULL;
      parcel->timer = NULL;
      if (memory) {
        E->head.lost++;
        E->node[parcel->node].held--;
        if (E->head.in_order) {
          Place *place = have_place(E, parcel->tx, parcel->node);
          place->head = place->tail = NULL;
          drop_place(E, parcel->tx, parcel->node);
        }
        free_parcel(E, parcel);
      } else if (keeps_stored) {
        for (Seen *one = E->seen_at[mix(parcel->tx, parcel->event) & (BUCKETS - 1)]; one; one = one->next)
          if (one->tx == parcel->tx && one->event == parcel->event) one->kept = 1;
      }
    }
  if (memory) {
    memset(E->parcel, 0, BUCKETS * sizeof(Parcel *));
    E->head.parcels = 0;
  }
  if (keeps_all) return;
  Seen *all = E->seen_first;
  E->seen_first = E->seen_last = NULL;
  memset(E->seen_at, 0, BUCKETS * sizeof(Seen *));
  while (all) {
    Seen *one = all;
    all = one->behind;
    one->behind = NULL;
    if (!one->kept) { free_seen(E, one); continue; }
    one->kept = 0;
    Seen **bucket = &E->seen_at[mix(one->tx, one->event) & (BUCKETS - 1)];
    one->next = *bucket;
    *bucket = one;
    if (E->seen_last) E->seen_last->behind = one;
    else E->seen_first = one;
    E->seen_last = one;
  }
}

static int by_lane(const void *a, const void *b) {
  int64_t one = (*(Parcel *const *)a)->lane, other = (*(Parcel *const *)b)->lane;
  return (one > other) - (one < other);
}

/* Answer again, and deliver what waits: the first of each lane, in the order in which lanes were begun. */
EXPORT void engine_broker_restart(Engine *E) {
  GUARD(E, )
  Parcel **first = borrow(E, ((size_t)E->head.parcels + 1) * sizeof(Parcel *));
  int64_t count = 0;
  E->head.broker_up = 1;
  for (int i = 0; i < BUCKETS; i++)
    for (Parcel *parcel = E->parcel[i]; parcel; parcel = parcel->next)
      if (!E->head.in_order || have_place(E, parcel->tx, parcel->node)->head == parcel) first[count++] = parcel;
  qsort(first, (size_t)count, sizeof(Parcel *), by_lane);
  for (int64_t i = 0; i < count; i++) deliver(E, first[i]);
  free(first);
}

/* --- the relay: simtx.protocols.relay, with the reader "marks" ------------------------------------------------------------------------------------ */

static void relay_publish(Engine *E, Actor *actor, Row *row) { publish(E, actor, row->event, row->tx, -1, -1); }

/* Read unmarked rows, and publish the first of each transaction that is not on its way already. */
static void relay_reads(Engine *E, Actor *actor) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  int count = 0;
  for (Row *row = node->first_row; row && count < relay->batch; row = row->next) count++;
  relay->more = count >= relay->batch;
  Row *row = node->first_row;
  for (int i = 0; i < count; i++, row = row->next) {
    if (row->known) continue;
    row->known = 1;
    row->behind = NULL;
    relay->known++;
    Place *place = have_place(E, row->tx, actor->node);
    if (!place->flying) {
      place->flying = row;
      relay_publish(E, actor, row);
    } else {
      Row *last = place->flying;
      while (last->behind) last = last->behind;
      last->behind = row;
    }
  }
}

static void mark_row(Engine *E, Node *node, Row *row) {
  if (row->before) row->before->next = row->next;
  else node->first_row = row->next;
  if (row->next) row->next->before = row->before;
  else node->last_row = row->before;
  node->rows--;
  if (!E->head.crashes) { free_row(E, row); return; }
  row->marked = E->head.now;
  row->next = NULL;
  if (node->last_mark) node->last_mark->next = row;
  else node->first_mark = row;
  node->last_mark = row;
  while (!buffered(E, node, node->first_mark->marked)) {
    Row *old = node->first_mark;
    node->first_mark = old->next;
    free_row(E, old);
  }
}

static void relay_published(Engine *E, Actor *actor, int64_t tx, int done) {
  Node *node = &E->node[actor->node];
  Relay *relay = &node->relay;
  Place *place = find_place(E, tx, actor->node);
  Row *row = place ? place->flying : NULL;
  if (!row) { fail(E, 9); return; }
  if (!done) {
    Held *held = new_held(E);
    *held = (Held){tx, NULL};
    if (relay->last) relay->last->next = held;
    else relay->held = held;
    relay->last = held;
    if (relay->backing_off) return;
    relay->backing_off = 1;
    set_timer(E, actor, BACKOFF, 0.0, relay->bound[relay->rounds < 65 ? relay->rounds : 65]);
    return;
  }
  relay->rounds = 0;
  relay->known--;
  Row *next = row->behind;
  place->flying = next;
  mark_row(E, node, row);
  if (next) {
    relay_publish(E, actor, next);
    return;
  }
  drop_place(E, tx, actor->node);
  if (relay->more && !relay->known) {
    relay->more = 0;
    relay_reads(E, actor);
  }
}

static void relay_rings(Engine *E, Actor *actor, int kind) {
  Relay *relay = &E->node[actor->node].relay;
  if (kind == POLL) {
    set_timer(E, actor, POLL, relay->interval, 0.0);
    relay_reads(E, actor);
    return;
  }
  relay->backing_off = 0;
  relay->rounds++;
  Held *held = relay->held;
  relay->held = relay->last = NULL;
  while (held) {
    Held *next = held->next;
    Place *place = find_place(E, held->tx, actor->node);
    if (place && place->flying) relay_publish(E, actor, place->flying);
    free_held(E, held);
    held = next;
  }
  if (relay->rounds == relay->alert_after) E->head.alerts++;
}

EXPORT void engine_start_relay(Engine *E, int number, double interval, int batch, int alert_after, const double *bounds) {
  GUARD(E, )
  Relay *relay = &E->node[number].relay;
  Actor *actor = new_actor(E);
  memset(actor->timer, 0, sizeof actor->timer);
  actor->tx = -1;
  actor->node = number;
  actor->is_relay = actor->alive = 1;
  actor->timers = 0;
  relay->actor = actor;
  relay->interval = interval;
  relay->batch = batch;
  relay->alert_after = alert_after;
  memcpy(relay->bound, bounds, sizeof relay->bound);
  set_timer(E, actor, POLL, 0.0, interval);
  relay_reads(E, actor);
}

/* Transactions whose transitions are played on the real machines, too. */
static int is_sampled(Engine *E, int64_t tx) { return tx < E->head.followed || !(tx & 4095); }

static void handle(Engine *E, Actor *actor, int32_t event, int64_t id) {
  if (id >= 0) { /* a delivery: which of those it knows already, or another one */
    int which = 0, held = E->learned.state_ids[actor->state];
    while (which < held && actor->id[which] != id) which++;
    if (which == held) which = NEW_ID;
    int32_t delivered = E->learned.delivery[event][which];
    if (delivered < 0) {
      delivered = ASK(E, delivery(event, which));
      if (delivered < 0) { fail(E, 3); actor->pc = actor->end = 0; return; }
      E->learned.delivery[event][which] = delivered;
    }
    event = delivered;
  }
  int32_t number = E->learned.table[(int64_t)actor->state * E->learned.event_room + event];
  if (number < 0) {
    number = ASK(E, learn(actor->state, event));
    if (number < 0) { fail(E, 3); actor->pc = actor->end = 0; return; }
  }
  if (is_sampled(E, actor->tx) && ASK(E, replay(actor->tx, number, actor->state, event)) < 0) { fail(E, 3); actor->pc = actor->end = 0; return; }
  Transition *transition = &E->learned.transition[number];
  transition->taken++;
  actor->state = transition->state;
  actor->pc = transition->start;
  actor->end = transition->end;
  if (E->head.has_broker) {
    for (int i = 0; i < IDS; i++) actor->was[i] = actor->id[i];
    actor->was[NEW_ID] = id;
    for (int i = 0; i < transition->ids; i++) actor->id[i] = actor->was[transition->id[i]];
  }
}

static void play(Engine *E, Actor *actor, int32_t event, int64_t id) {
  actor->phase = BUSY;
  handle(E, actor, event, id);
  go_on(E, actor);
}

/* Play effects, or the rest of them, then whatever waits; return when the machine is idle or has to wait. */
static void go_on(Engine *E, Actor *actor) {
  Head *H = &E->head;
  int64_t tx = actor->tx;
  while (!H->error) {
    while (actor->pc < actor->end && !H->error) {
      Effect *program = &E->learned.program[actor->pc++];
      int a = program->a;
      Transaction *T = record(E, tx);
      switch (program->op) {
      case DO_SEND: {
        if (H->has_breakers && !allowed(E, actor->node, E->learned.event_node[a])) break;
        if (T) T->messages++;
        Link *link = link_of(E, actor->node, E->learned.event_node[a]);
        transmit(E, link, MESSAGE, NULL, tx << 24 | a, tx);
        break;
      }
      case DO_APPEND:
        if (!a) {
          if (T) T->lazy++;
          append(E, actor, program->b, 0);
        } else if (at_once(&E->node[actor->node].disk)) {
          note_instant(E, &E->node[actor->node].disk);
          hardened(E, actor, program->b);
        } else {
          Flush *flush = new_flush(E);
          flush->what = HARDENED;
          flush->record = program->b;
          flush->actor = actor;
          flush->work = NULL;
          force(E, actor->node, flush, tx);
          return;
        }
        break;
      case DO_SET_TIMER: set_timer(E, actor, a, E->learned.number[program->b], E->learned.number[program->c]); break;
      case DO_CANCEL_TIMER:
        if (actor->timer[a]) {
          actor->timer[a]->owner = NULL;
          actor->timer[a] = NULL;
          actor->timers--;
        }
        break;
      case DO_WORK:
        actor->phase = SUBMITTING;
        submit_work(E, actor, a);
        if (actor->phase == SUBMITTING) {
          actor->phase = WAITING;
          return;
        }
        break;
      case DO_FORGET: forget(E, actor); break;
      case DO_COMMIT:
        if (!second_phase(E, actor, 1, 1)) return;
        break;
      case DO_ROLLBACK:
        if (!second_phase(E, actor, 0, a)) return;
        break;
      case DO_ANSWER:
        if (T) answered(E, tx, a);
        break;
      case DO_DECIDED:
        if (T) decided(E, T, a, H->now);
        break;
      case DO_SUSPECT:
        if (T) T->retries++;
        if (H->has_breakers && a >= 0) call_failed(E, actor->node, a);
        break;
      case DO_ALERT:
        H->alerts++;
        if (a && T) T->stuck = 1;
        break;
      case DO_PUBLISH: publish(E, actor, a, tx, program->b, program->c); break;
      case DO_ACKNOWLEDGE: transmit(E, link_of(E, actor->node, BROKER), ACKNOWLEDGED, NULL, actor->was[a], tx); break;
      default: fail(E, 7);
      }
    }
    int32_t event;
    int64_t id = -1;
    if (actor->done >= 0) {
      event = actor->done;
      actor->done = -1;
    } else if (actor->head && actor->alive) {
      Mail *mail = actor->head;
      event = mail->event;
      id = mail->id;
      actor->head = mail->next;
      if (!actor->head) actor->tail = NULL;
      free_mail(E, mail);
    } else {
      actor->phase = IDLE;
      if (!actor->alive) {
        recycle(E, actor);
      } else if (!actor->timers && E->learned.is_initial[actor->state] && tx >= 0) {
        free_it(E, actor);
        recycle(E, actor);
      }
      return;
    }
    handle(E, actor, event, id);
  }
}

/* --- the loop ------------------------------------------------------------------------------------------------------------------------------- */

static int run(Engine *E) {
  Head *H = &E->head;
  while (!H->error) {
    if (!E->entries || !before(E->heap[0].time, E->heap[0].key, &(Entry){H->python_time, H->python_key, NULL, 0})) return PYTHON;
    if (++H->beat == LOOK_EVERY) { H->beat = 0; return LOOK; }
    Entry entry = pop(E);
    H->now = entry.time;
    switch (entry.key & 63) {
    case STOP:
      H->seq++; /* SimPy schedules what is left of an event at which it stopped */
      return STOPPED;
    case MESSAGE: receive(E, entry.number >> 24, (int32_t)(entry.number & 0xFFFFFF)); break;
    case FLUSHED: flushed(E, entry.thing); break;
    case BATCH: batch_flushed(E, entry.thing, (int)entry.number); break;
    case SERVED:
      served(E, entry.thing);
      let_work(E, entry.thing);
      break;
    case GIVE_UP:
      give_up(E, entry.thing);
      let_work(E, entry.thing);
      break;
    case LANE: tick(E, entry.thing); break;
    case RING: ring(E, entry.thing); break;
    case ARRIVE: arrive(E); break;
    case AT_THE_NODE: at_the_node(E, entry.thing); break;
    case ASK_AGAIN: ask_again(E, entry.thing); break;
    case SILENCE: {
      Call *call = entry.thing;
      if (call->attempt == entry.number && !E->tx[call->tx].asking) ask_again(E, call);
      break;
    }
    case NO_ANSWER:
      if (!H->insists) free_call(E, entry.thing);
      break;
    case ANSWER_ARRIVES: answer_arrives(E, entry.number); break;
    case LEAVE:
      leave_producer(E, entry.thing);
      let_publication(E, entry.thing);
      break;
    case AT_THE_BROKER:
      if (!H->broker_up) { let_publication(E, entry.thing); break; }
      call_in(E, draw(E, H->acknowledgement, ((Publication *)entry.thing)->tx), STORE, entry.thing, 0);
      break;
    case STORE:
      store_message(E, entry.thing);
      let_publication(E, entry.thing);
      break;
    case CONFIRM:
      confirmed(E, entry.thing);
      let_publication(E, entry.thing);
      break;
    case DELIVER: {
      receive_delivery(E, entry.number >> 24, (int32_t)(entry.number & 0xFFFFFF), (int64_t)(intptr_t)entry.thing);
      break;
    }
    case ACKNOWLEDGED: acknowledged(E, entry.number); break;
    case WAKE:
      if (((Actor *)entry.thing)->gen == entry.number && !E->node[((Actor *)entry.thing)->node].paused) relay_reads(E, entry.thing);
      break;
    case LOSE_PATIENCE: lose_patience(E, entry.number); break;
    default: fail(E, 7);
    }
  }
  return FAILED;
}

EXPORT int engine_run(Engine *E) {
  GUARD(E, FAILED)
  return run(E);
}

/* --- crash and restart: simtx.simulator.node ------------------------------------------------------------------------------------------------------- */

static void clear_station(Station *station, double now) {
  station->exits += now * (double)station->present;
  station->present = 0;
}

/* What is left of records when lazy ones in memory are gone; what is left is on the disk. */
static Record *left_of(Engine *E, Node *node, Record *records, Record **last) {
  Record *first = NULL, *end = NULL;
  while (records) {
    Record *one = records;
    records = one->next;
    one->next = NULL;
    if (one->lazy && buffered(E, node, one->since)) {
      free_record(E, one);
      continue;
    }
    one->lazy = 0;
    if (end) end->next = one;
    else first = one;
    end = one;
  }
  *last = end;
  return first;
}

static int by_number(const void *a, const void *b) {
  int64_t one = *(const int64_t *)a, other = *(const int64_t *)b;
  return (one > other) - (one < other);
}

/* Numbers of the transactions of which a node has anything, ascending. */
static int64_t *places_of(Engine *E, int number, int64_t *count) {
  int64_t *found = borrow(E, ((size_t)E->places + 1) * sizeof(int64_t));
  *count = 0;
  for (int64_t i = 0; i < E->place_room; i++)
    if (E->place[i].node == number) found[(*count)++] = E->place[i].tx;
  qsort(found, (size_t)*count, sizeof(int64_t), by_number);
  return found;
}

static void crash_store(Engine *E, int number) {
  Node *node = &E->node[number];
  double now = E->head.now;
  for (int key = node->wait_first; key >= 0; key = E->key[key].wait_next) {
    Key *row = &E->key[key];
    for (Work *work = row->head, *next; work; work = next) {
      next = work->queued;
      work->waits_for = -1;
      end_wait(E, work);
    }
    row->head = row->tail = NULL;
  }
  node->wait_first = node->wait_last = -1;
  node->lock_queue = 0;
  E->seen++;
  for (int key = node->own_first; key >= 0; key = E->key[key].own_next) {
    Work *work = E->key[key].owner;
    Place *place = find_place(E, work->tx, number);
    if (work->seen == E->seen || (place && place->prepared == work)) continue;
    work->seen = E->seen;
    int count = 0;
    for (int i = 0; i < work->keys; i++) count += E->key[work->locked[i]].owner == work;
    count_locks(E, work, count);
  }
  for (int key = node->own_first; key >= 0; key = E->key[key].own_next) E->key[key].owner = NULL;
  node->own_first = node->own_last = -1;
  node->owners = node->open = 0;
  clear_station(&node->lock_waits, now);
  while (node->first_rolled) {
    Rolled *rolled = node->first_rolled;
    Work *branch = rolled->branch;
    node->first_rolled = rolled->next;
    if (survives(E, node, rolled->since)) {
      let_work(E, branch);
    } else { /* the word of the rollback is lost: in doubt again, by a branch that lives on */
      branch->ended = 0;
      add_prepared(E, branch);
      branch->locked_from = now * branch->keys;
      branch->prepared_since = now;
    }
    free_rolled(E, rolled);
  }
  node->last_rolled = NULL;
  for (Work *branch = node->first_prepared; branch; branch = branch->later)
    for (int i = 0; i < branch->keys; i++) {
      int key = branch->locked[i];
      if (!E->key[key].owner) {
        node->owners++;
        link_owned(E, key);
      }
      E->key[key].owner = branch;
    }
  while (node->first_mark) {
    Row *row = node->first_mark;
    node->first_mark = row->next;
    if (!buffered(E, node, row->marked)) { free_row(E, row); continue; }
    row->known = 0;
    row->behind = NULL;
    show_row(node, row);
  }
  node->last_mark = NULL;
}

static void drop_mail(Engine *E, Actor *actor) {
  while (actor->head) {
    Mail *next = actor->head->next;
    free_mail(E, actor->head);
    actor->head = next;
  }
  actor->tail = NULL;
}

static void kill_actor(Engine *E, Actor *actor) {
  actor->alive = 0;
  cancel_timers(actor);
  drop_mail(E, actor);
  recycle(E, actor);
}

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
    if (one->kind == SERVED) let_work(E, one->thing);
    if (one->kind == LEAVE) let_publication(E, one->thing);
    free_waiting(E, one);
  }
}

/* Handle what came in during a pause. */
static void handle_waiting(Engine *E, Waiting *one) {
  switch (one->kind) {
  case MESSAGE: receive(E, one->tx, one->event); break;
  case DELIVER: receive_delivery(E, one->tx, one->event, one->number); break;
  case AT_THE_NODE: request(E, one->tx); break;
  case RING: ring_machine(E, one->thing); break;
  case RESUME: go_on(E, one->thing); break;
  case SERVED:
    served(E, one->thing);
    let_work(E, one->thing);
    break;
  case LEAVE:
    leave_producer(E, one->thing);
    let_publication(E, one->thing);
    break;
  case CONFIRM: tell_producer(E, one->thing, one->gen, one->tx, (int)one->number, one->event); break;
  case TELL: {
    Actor *actor = one->thing;
    if (!actor->alive || actor->gen != one->gen) break;
    actor->done = one->event;
    actor->phase = BUSY;
    go_on(E, actor);
    break;
  }
  default: fail(E, 7);
  }
}

/* Stop handling anything, as a long garbage collection or a stopped process does. */
EXPORT void engine_pause(Engine *E, int number) {
  if (E->node[number].up) E->node[number].paused = 1;
}

/* Go on after a pause: what came in meanwhile is handled in its order. */
EXPORT void engine_unpause(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  Waiting *all = node->first_waiting;
  node->paused = 0;
  node->first_waiting = node->last_waiting = NULL;
  while (all && !E->head.error) {
    Waiting *one = all;
    all = one->next;
    handle_waiting(E, one);
    free_waiting(E, one);
  }
}

/* The store and the log stop answering. */
EXPORT void engine_begin_outage(Engine *E, int number) { E->node[number].outage = E->node[number].disk.stalled = 1; }

/* They answer again. */
EXPORT void engine_end_outage(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  node->outage = 0;
  resume_disk(E, number);
  Work *stalled = node->first_stalled;
  node->first_stalled = node->last_stalled = NULL;
  while (stalled) {
    Work *work = stalled;
    stalled = work->next;
    if (work->actor->alive && work->actor->gen == work->gen) submit_made(E, work);
    else end_work(E, work);
  }
}

EXPORT void engine_crash(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  Disk *disk = &node->disk;
  Pool *pool = &node->pool;
  double now = E->head.now;
  int64_t count;
  if (!node->up) return;
  node->up = node->paused = 0;
  int64_t *known = places_of(E, number, &count);
  for (int64_t i = 0; i < count; i++) {
    Place *place = find_place(E, known[i], number);
    place->records = left_of(E, node, place->records, &place->last_record);
    if (known[i] >= 0 && !place->records) E->tx[known[i]].durable &= ~(1u << number);
  }
  while (node->first_ending) {
    Ending *ending = node->first_ending;
    Record *last, *left = left_of(E, node, ending->records, &last);
    node->first_ending = ending->next;
    Place *place = left ? have_place(E, ending->tx, number) : NULL;
    if (left && buffered(E, node, ending->since) && !place->records) {
      place->records = left;
      place->last_record = last;
      E->tx[ending->tx].durable |= 1u << number;
    } else {
      free_records(E, left);
    }
    free_ending(E, ending);
  }
  node->last_ending = NULL;
  free(known);
  if (node->has_store) crash_store(E, number);
  known = places_of(E, number, &count);
  for (int64_t i = 0; i < count; i++) {
    Place *place = find_place(E, known[i], number);
    Transaction *T = record(E, known[i]);
    int kept = place->records || place->prepared;
    if (place->actor && !kept && T) {
      T->actors--;
      T->forgotten |= 1u << number;
    }
    if (!place->actor && kept && T) T->actors++;
    if (place->actor) kill_actor(E, place->actor);
    place->actor = NULL;
    place->open = NULL;
    place->flying = NULL;
    drop_place(E, known[i], number);
  }
  free(known);
  for (Row *row = node->first_row; row; row = row->next) { row->known = 0; row->behind = NULL; }
  Relay *relay = &node->relay;
  if (relay->actor) kill_actor(E, relay->actor);
  while (relay->held) {
    Held *next = relay->held->next;
    free_held(E, relay->held);
    relay->held = next;
  }
  memset(relay, 0, sizeof *relay);
  memset(node->breaker, 0, sizeof node->breaker);
  drop_waiting(E, number);
  while (node->first_stalled) {
    Work *work = node->first_stalled;
    node->first_stalled = work->next;
    end_work(E, work);
  }
  node->last_stalled = NULL;
  disk->epoch++;
  while (disk->head) {
    Flush *next = disk->head->next;
    free_flush(E, disk->head);
    disk->head = next;
  }
  disk->tail = NULL;
  disk->busy = 0;
  if (!node->has_store) return;
  pool->busy_time += (pool->workers - pool->free) * (now - pool->since);
  pool->since = now;
  clear_station(&pool->waiting, now);
  clear_station(&pool->served, now);
  pool->epoch++;
  pool->head = pool->tail = NULL;
  pool->waiting_count = 0;
  pool->free = pool->workers;
}

/* Come back with what is on disk: recover every machine that has records. Daemons and the broker's connection are Python's next calls. */
EXPORT void engine_restart(Engine *E, int number) {
  GUARD(E, )
  Node *node = &E->node[number];
  int64_t count;
  if (node->up) return;
  node->up = 1;
  int64_t *known = places_of(E, number, &count);
  for (int64_t i = 0; i < count && !E->head.error; i++) {
    Place *place = find_place(E, known[i], number);
    if (!place || !(place->records || place->prepared)) continue;
    int32_t what[256];
    int records = 0;
    for (Record *one = place->records; one; one = one->next) {
      if (records == 255) { fail(E, 12); break; }
      what[records++] = one->what;
    }
    if (place->prepared && E->learned.template[place->prepared->template].type == PREPARE) what[records++] = E->learned.template[place->prepared->template].record;
    Transaction *T = record(E, known[i]);
    Actor *actor = spawn(E, known[i], number);
    if (T) T->actors--; /* it was never taken off */
    int32_t transition = ASK(E, recover(number, records, what));
    if (transition < 0) { fail(E, 3); break; }
    actor->phase = BUSY;
    actor->state = E->learned.transition[transition].state;
    actor->pc = E->learned.transition[transition].start;
    actor->end = E->learned.transition[transition].end;
    go_on(E, actor);
  }
  free(known);
  if (E->head.error) return;
  for (int64_t tx = E->head.first_open; tx < E->head.asked; tx++) { /* no record, or no trace at all: aborted from now on */
    Transaction *T = &E->tx[tx];
    if (!(T->forgotten & 1u << number)) continue;
    T->forgotten &= ~(1u << number);
    int written = T->forced || T->lazy || T->first_effect == T->first_effect;
    int traceless = !(T->actors || T->messages || T->broker_messages || written);
    if (number == E->head.presumes || (traceless && !E->head.insists)) decided(E, T, 0, E->head.now);
  }
}

/* A consumer has come back: what waits for it is delivered at once, what it had not acknowledged included. */
EXPORT void engine_connected(Engine *E, int number) {
  GUARD(E, )
  if (!E->head.broker_up) return;
  Parcel **first = borrow(E, ((size_t)E->head.parcels + 1) * sizeof(Parcel *));
  int64_t count = 0;
  for (int i = 0; i < BUCKETS; i++)
    for (Parcel *parcel = E->parcel[i]; parcel; parcel = parcel->next)
      if (parcel->node == number && (!E->head.in_order || have_place(E, parcel->tx, parcel->node)->head == parcel)) first[count++] = parcel;
  qsort(first, (size_t)count, sizeof(Parcel *), by_lane);
  for (int64_t i = 0; i < count; i++) {
    if (first[i]->timer) first[i]->timer->owner = NULL;
    redeliver(E, first[i]);
  }
  free(first);
}

/* --- the end of a run ----------------------------------------------------------------------------------------------------------------------- */

/* Whether nothing is left to do but what waits for an operator. */
EXPORT int engine_quiet(Engine *E) {
  if (E->head.asking) return 0;
  for (int i = 0; i < E->head.nodes; i++)
    if (!E->node[i].up || E->node[i].paused || E->node[i].outage) return 0;
  if (E->places)
    for (int64_t i = 0; i < E->place_room; i++) {
      Place *place = &E->place[i];
      if (place->node < 0 || !(place->actor || place->prepared)) continue;
      if (place->tx < 0 || E->tx[place->tx].closed || !E->tx[place->tx].stuck) return 0;
    }
  for (int i = 0; i < E->head.nodes; i++)
    for (Row *row = E->node[i].first_row; row; row = row->next)
      if (E->tx[row->tx].closed || !E->tx[row->tx].stuck) return 0;
  if (E->head.parcels)
    for (int i = 0; i < BUCKETS; i++)
      for (Parcel *parcel = E->parcel[i]; parcel; parcel = parcel->next)
        if (E->tx[parcel->tx].closed || !E->tx[parcel->tx].stuck) return 0;
  for (int64_t tx = E->head.first_open; tx < E->head.asked; tx++)
    if (E->tx[tx].durable && (E->tx[tx].closed || !E->tx[tx].stuck)) return 0;
  return 1;
}

/* What is in doubt, locked or waiting counts up to now; then every record is closed. */
EXPORT void engine_finish(Engine *E) {
  GUARD(E, )
  Head *H = &E->head;
  double now = H->now;
  uint8_t *working = memset(borrow(E, (size_t)H->asked + 1), 0, (size_t)H->asked + 1);
  for (int64_t i = 0; i < E->place_room; i++) {
    Place *place = &E->place[i];
    if (place->node >= 0 && place->tx >= 0 && (place->actor || place->prepared)) working[place->tx] = 1;
  }
  for (int64_t tx = 0; tx < H->asked; tx++) working[tx] |= E->tx[tx].durable != 0;
  for (int i = 0; i < H->nodes; i++)
    for (Row *row = E->node[i].first_row; row; row = row->next) { working[row->tx] = 1; H->unpublished++; }
  if (H->parcels)
    for (int i = 0; i < BUCKETS; i++)
      for (Parcel *parcel = E->parcel[i]; parcel; parcel = parcel->next) working[parcel->tx] = 1;
  for (int node = 0; node < H->nodes; node++) { /* store by store: a transaction's sums are in this order */
    for (int64_t i = 0; i < E->place_room; i++) {
      Place *place = &E->place[i];
      if (place->node != node || !place->prepared) continue;
      H->in_doubt_open++;
      Transaction *T = record(E, place->tx);
      if (T) T->in_doubt += now - place->prepared->prepared_since;
    }
    for (int i = 0; i < E->keys; i++) {
      Work *work = E->key[i].owner;
      if (!work || E->key[i].node != node) continue;
      int count = 0;
      for (int j = i; j < E->keys; j++)
        if (E->key[j].owner == work) { count++; E->key[j].owner = NULL; }
      H->locks_open += count;
      Transaction *T = record(E, work->tx);
      if (T) T->lock_hold += now * count - work->locked_from;
    }
    for (int i = 0; i < E->keys; i++)
      if (E->key[i].node == node)
        for (Work *work = E->key[i].head; work; work = work->queued) end_wait(E, work);
  }
  for (int64_t tx = 0; tx < H->asked; tx++) {
    Transaction *T = &E->tx[tx];
    if (T->closed) continue;
    if (!T->decision && !working[tx] && 0 < T->done && T->done == H->writing) decided(E, T, 1, T->last_effect);
    int outcome = OUT_LOST;
    if (T->stuck) outcome = OUT_STUCK;
    else if (T->decision && !T->actors) outcome = OUT_OPEN;
    else if (working[tx] || T->actors) outcome = OUT_IN_FLIGHT;
    else
      for (int i = 0; i < H->steps; i++)
        if (E->actions[tx * H->steps + i] > E->undone[tx * H->steps + i]) outcome = OUT_INCOMPLETE;
    close_record(E, tx, outcome, !working[tx] && !T->actors);
  }
  free(working);
  free(E->rows); /* these are a third of all, and nobody asks for them any more */
  free(E->demands);
  free(E->residuals);
  E->rows = NULL;
  E->demands = E->residuals = NULL;
}

/* --- what Python describes and reads ------------------------------------------------------------------------------------------------------------ */

EXPORT void engine_free(Engine *E);
EXPORT Engine *engine_new(const Calls *calls) {
  jmp_buf here;
  Engine *E = calloc(1, sizeof(Engine));
  if (!E) return NULL;
  E->calls = *calls;
  E->place_room = 1024;
  if (setjmp(here)) { engine_free(E); return NULL; }
  E->escape = &here;
  E->place = reserve(E, NULL, 0, (size_t)E->place_room * sizeof(Place));
  for (int64_t i = 0; i < E->place_room; i++) E->place[i].node = -1;
  for (int i = 0; i < NODES; i++)
    for (int j = 0; j <= NODES; j++) E->node[i].link[j] = -1;
  E->row_room = 8;
  E->factor_piece = -1;
  E->parcel = slab(E, BUCKETS * sizeof(Parcel *));
  E->seen_at = slab(E, BUCKETS * sizeof(Seen *));
  E->lane = slab(E, 1024 * sizeof(Lane *));
  E->escape = NULL; /* every call from Python sets it */
  return E;
}

static void free_learned(Learned *learned) {
  void *all[] = {learned->table, learned->is_initial, learned->event_node, learned->event_sender, learned->state_ids, learned->delivery, learned->transition,
                 learned->program, learned->operation, learned->template, learned->number, learned->claim};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

EXPORT void engine_free(Engine *E) {
  for (int i = 0; i < E->slab_count; i++) free(E->slabs[i]);
  void *all[] = {E->slabs, E->heap, E->counts, E->tx, E->actions, E->undone, E->claims, E->residuals, E->order, E->rows, E->link, E->key, E->page, E->demands, E->place};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  free_learned(&E->learned);
  free(E);
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

#ifndef SOURCE
#define SOURCE ""
#endif
EXPORT const char *engine_source(void) { return SOURCE; } /* which source this was compiled from */

EXPORT Head *engine_head(Engine *E) { return &E->head; }
EXPORT int engine_head_size(void) { return (int)sizeof(Head); }
EXPORT Gauge *engine_gauges(Engine *E) { return E->gauge; }
EXPORT Transaction *engine_transactions(Engine *E) { return E->tx; }
EXPORT int engine_transaction_size(void) { return (int)sizeof(Transaction); }
EXPORT int64_t *engine_order(Engine *E) { return E->order; }

EXPORT int engine_stream(Engine *E, int constant, double value) {
  if (E->streams == STREAMS) return -1;
  E->stream[E->streams] = (Stream){.constant = constant, .value = value};
  return E->streams++;
}

/* This stream follows the common factor: of its own it draws from the stream `own`, of normals. */
EXPORT void engine_together(Engine *E, int stream, int own, double share, double rest, int cells, const double *quantile, const double *threshold, int exact) {
  GUARD(E, )
  Stream *S = &E->stream[stream];
  S->quantile = slab(E, (size_t)cells * sizeof(double));
  S->threshold = slab(E, (size_t)cells * sizeof(double));
  memcpy(S->quantile, quantile, (size_t)cells * sizeof(double));
  memcpy(S->threshold, threshold, (size_t)(cells - 1) * sizeof(double));
  S->cells = cells;
  S->own = own;
  S->exact = exact;
  S->share = share;
  S->rest_share = rest;
}

EXPORT int engine_bounds(Engine *E, const double *bounds, int count) {
  GUARD(E, -1)
  E->bound = slab(E, (size_t)count * sizeof(double));
  memcpy(E->bound, bounds, (size_t)count * sizeof(double));
  return E->head.bounds = count;
}

EXPORT void engine_node(Engine *E, int number, int stream, int flush, int instant, int jitter, double lazy_flush) {
  Node *node = &E->node[number];
  node->disk.stream = stream;
  node->disk.flush = flush;
  node->disk.instant = instant;
  node->disk.durable_until = -1.0;
  node->jitter = jitter;
  node->timer_factor = 1.0;
  node->generation = 2;
  node->up = 1;
  node->lazy_flush = lazy_flush;
  node->own_first = node->own_last = node->wait_first = node->wait_last = -1;
}

EXPORT void engine_store(Engine *E, int number, int serializable, double lock_timeout, double retention, int workers, int limit, int at_commit) {
  Node *node = &E->node[number];
  node->has_store = 1;
  node->serializable = serializable;
  node->lock_timeout = lock_timeout;
  node->retention = node->rotate_at = retention;
  node->pool.workers = node->pool.free = workers;
  node->pool.limit = limit;
  node->at_commit = at_commit;
  node->pool.factor = 1.0;
}

/* The store has a read replica, whose delays come from this stream. */
EXPORT void engine_replica(Engine *E, int number, int stream) { E->node[number].lag = stream; }
EXPORT int64_t engine_replica_reads(Engine *E, int number, int stale) { return stale ? E->node[number].stale_reads : E->node[number].replica_reads; }

EXPORT int engine_link(Engine *E, const Link *link) {
  GUARD(E, -1)
  if (!E->link) E->link = memset(reserve(E, NULL, 0, (NODES + 1) * (NODES + 1) * sizeof(Link)), 0, (NODES + 1) * (NODES + 1) * sizeof(Link));
  if (E->links == (NODES + 1) * (NODES + 1)) return -1;
  E->link[E->links] = *link;
  return E->links++;
}

/* The number of a link, which is made if need be; and what faults have made of it. */
EXPORT int engine_link_number(Engine *E, int source, int destination) { GUARD(E, -1) return (int)(link_of(E, source, destination) - E->link); }
EXPORT void engine_set_link(Engine *E, int number, int blocked, int reorders, double reorder, int duplicates, double duplication, int loses, double loss) {
  Link *link = &E->link[number];
  link->blocked = blocked;
  link->reorders = reorders;
  link->reorder = reorder;
  link->duplicates = duplicates;
  link->duplication = duplication;
  link->loses = loses;
  link->loss = loss;
  link->plain = !(blocked || reorders || duplicates || loses);
}

/* How much slower a node's workers are, and by how much its clock is off. */
EXPORT void engine_factors(Engine *E, int number, double workers, double timers) {
  E->node[number].pool.factor = workers;
  E->node[number].timer_factor = timers;
}

static int make_key(Engine *E, int node, const char *name, double first, int has_value, int weights, const double *weight) {
  if (E->keys == E->key_room) {
    int room = E->key_room ? 2 * E->key_room : 256;
    RESERVE(E, E->key, E->key_room, room);
    E->key_room = room;
  }
  Key *key = &E->key[E->keys];
  memset(key, 0, sizeof *key);
  key->name = slab(E, strlen(name) + 1);
  strcpy(key->name, name);
  key->node = node;
  key->value = key->first = key->replica = first;
  key->has_value = (uint8_t)has_value;
  key->weights = weights;
  if (weights) {
    size_t size = (size_t)weights * (size_t)E->head.quantities * sizeof(double);
    key->weight = slab(E, size + 8);
    memcpy(key->weight, weight, size);
  }
  return E->keys++;
}

EXPORT int engine_key(Engine *E, int node, const char *name, double first, int has_value, int weights, const double *weight) {
  GUARD(E, -1)
  return make_key(E, node, name, first, has_value, weights, weight);
}

/* Many new keys of one node that are alike but for their names, which end with a null character each: the number of the first. */
EXPORT int engine_keys(Engine *E, int node, int count, const char *names, int64_t size, double first, int weights, const double *weight) {
  GUARD(E, -1)
  int start = E->keys;
  char *text = slab(E, (size_t)size + 1);
  memcpy(text, names, (size_t)size);
  for (int i = 0; i < count; i++) {
    int number = make_key(E, node, "", first, 0, weights, weight);
    E->key[number].name = text;
    text += strlen(text) + 1;
  }
  return start;
}

/* Of every key: its value, what it ought to be, and 1 if it has a value, plus 2 if anything is expected of it. */
EXPORT void engine_values(Engine *E, double *value, double *expected, uint8_t *has) {
  for (int i = 0; i < E->keys; i++) {
    value[i] = E->key[i].value;
    expected[i] = E->key[i].expected;
    has[i] = (uint8_t)(E->key[i].has_value + 2 * E->key[i].has_expected);
  }
}

/* What the steps in force have added to each key, and by how much its value is off that. */
EXPORT void engine_force(Engine *E, const int32_t *step, double *force, double *off) {
  for (int i = 0; i < E->keys; i++) force[i] = E->key[i].late;
  for (int64_t tx = 0; tx < E->head.asked; tx++)
    for (int i = 0; i < E->books; i++) {
      int64_t place = tx * E->head.steps + step[i];
      int net = E->actions[place] - E->undone[place];
      if (net) force[key_of(E, tx, E->book[i])] += net * amount_of(E, tx, E->book[i]);
    }
  for (int i = 0; i < E->keys; i++) off[i] = E->key[i].value - E->key[i].first - force[i];
}

EXPORT int16_t *engine_actions(Engine *E) { return E->actions; }
EXPORT int16_t *engine_undone(Engine *E) { return E->undone; }
EXPORT void *engine_claims(Engine *E) { return E->claims; }

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

EXPORT int engine_page(Engine *E, const double *demands, const double *amounts, const int32_t *keys, const uint8_t *shapes) {
  GUARD(E, -1)
  GROW(E->page, E->pages, E->page_room, 1)
  Page *page = &E->page[E->pages++];
  size_t steps = (size_t)E->head.steps * PAGE, slots = (size_t)E->head.slots * (E->head.shared_slots ? 1 : PAGE);
  if (E->pages * PAGE > E->demand_room) {
    int64_t room = E->demand_room ? 2 * E->demand_room : PAGE;
    RESERVE(E, E->demands, E->demand_room * E->head.steps, room * E->head.steps);
    E->demand_room = room;
  }
  page->shapes = slab(E, PAGE);
  memcpy(E->demands + (size_t)(E->pages - 1) * steps, demands, steps * sizeof(double));
  memcpy(page->shapes, shapes, PAGE);
  if (!E->head.shared_slots || E->pages == 1) {
    page->amounts = slab(E, (slots + 1) * sizeof(double));
    page->keys = slab(E, (slots + 1) * sizeof(int32_t));
    memcpy(page->amounts, amounts, slots * sizeof(double));
    memcpy(page->keys, keys, slots * sizeof(int32_t));
  }
  return 0;
}

EXPORT int engine_book(Engine *E, int slot) {
  if (E->books == (int)(sizeof E->book / sizeof *E->book)) return -1;
  E->book[E->books++] = slot;
  return 0;
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

EXPORT int engine_program(Engine *E, int op, int a, int b, int c) {
  GUARD(E, -1)
  GROW(E->learned.program, E->learned.programs, E->learned.program_room, 1)
  E->learned.program[E->learned.programs] = (Effect){op, a, b, c};
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

EXPORT void engine_push(Engine *E, double time, int priority, int kind) { GUARD(E, ) push(E, time, priority, kind, NULL, 0); }
EXPORT void engine_arrivals(Engine *E) {
  GUARD(E, )
  Head *H = &E->head;
  E->nobody.base = 0;
  E->nobody.tx = -1;
  if (H->closed_workload) call_in(E, draw(E, H->thinking, -1), ARRIVE, NULL, 0);
  else schedule(E);
}

/* Pool, disk and store of a node: what simtx.simulator.counted reads. */
typedef struct { double busy_time, work, since, disk_busy, locks_held; int64_t locks_taken, lock_queue; int32_t busy, queue, prepared, rows, held, unused; Station waiting, served, waits; } Figures;
EXPORT int engine_figures_size(void) { return (int)sizeof(Figures); }
EXPORT void engine_figures(Engine *E, int number, Figures *figures) {
  Node *node = &E->node[number];
  Pool *pool = &node->pool;
  *figures = (Figures){pool->busy_time, pool->work, pool->since, node->disk.busy_time, node->locks_held, node->locks_taken, node->lock_queue,
                       pool->workers - pool->free, pool->waiting_count, node->prepared, node->rows, node->held, 0, pool->waiting, pool->served, node->lock_waits};
}
/* A sample of the timeline, in the order of simtx.metrics.timeline.columns; gives the number of its figures. */
EXPORT int engine_sample(Engine *E, double *row) {
  Head *H = &E->head;
  double *at = row, in_doubt = 0.0;
  for (int i = 0; i < H->nodes; i++) in_doubt += E->node[i].prepared;
  *at++ = H->now;
  *at++ = H->quantities ? E->gauge[0].net : 0.0;
  *at++ = H->quantities ? E->gauge[0].gross : 0.0;
  *at++ = (double)H->unsettled;
  *at++ = (double)H->undecided;
  *at++ = in_doubt;
  for (int i = 0; i < H->nodes; i++) {
    Node *node = &E->node[i];
    if (!node->has_store) continue;
    *at++ = node->pool.waiting_count;
    *at++ = node->pool.workers - node->pool.free;
    *at++ = (double)node->lock_queue;
    if (!H->has_broker) continue;
    *at++ = node->rows;
    *at++ = node->held;
  }
  return (int)(at - row);
}

/* Python has brought a pool's busy time up to now. */
EXPORT void engine_account(Engine *E, int number, double busy_time, double since) {
  E->node[number].pool.busy_time = busy_time;
  E->node[number].pool.since = since;
}
