/*
 * The loop of a search of the checker: what simtx.checker.protocols.steps computes for one state after the other, in the same order, so that states,
 * counts and shortest paths are the same. Functions have the names of the Python methods that they follow.
 *
 * The protocols are not here either. States are made of numbers, and what a number stands for is known to Python alone
 * (simtx/checker/protocols/compiled.py): what a node does upon an event, what the observer sees, what the broker holds afterwards. Each such question is
 * asked once, by a call into Python, and its answer kept in a table.
 *
 * A state is made of 32-bit words: the nodes' numbers, the broker's, the observer's, the budgets, the requests and the plan, the round, and what is in
 * flight, sorted. Most of them are small, so a word is kept in as many bytes as it needs. States lie one behind the other in the order of discovery, so a level
 * is a range of them.
 */

#define SEARCH_NODES 12
#define SEARCH_NET 256
#define SEARCH_ORPHANS 16
#define RECORD (SEARCH_NODES + 6 + SEARCH_NET) /* words */
#define RECORD_BYTES (5 * RECORD)
#define BLOCK 4 /* 2 to the power of this many states stand in a block; offsets of 16 bits in it suffice for RECORD_BYTES each */
#define WAITING 64
#define PLACE ((uint64_t)1 << 40)
#define WAY 1000 /* as _LONG of simtx.checker.explorer.quiescence */
#define ENDINGS ((uint64_t)1 << 24) /* what is known of ends has no more places than these */

enum { ASK_REACT, ASK_OBSERVE, ASK_TIMERS, ASK_UNDER_WAY, ASK_CALM, ASK_HEADS, ASK_STORE, ASK_MARK, ASK_ACKNOWLEDGE, ASK_RESET, ASK_TOLD, ASK_ACK, ASK_ORPHAN,
       ASK_UNHEARD, ASK_DELIVERY, ASK_COPY, ASK_REQUEST, ASK_COUNT, ASK_FIRED, ASK_TURN, ASK_HEAD_KEY, ASK_ASKS, ASK_STUCK, ASK_ATTENDED, ASK_BUSY,
       ASK_ITEM, ASK_LOCAL, ASK_SEEN, ASK_ENDS, ASK_VOTE };

enum { IS_MESSAGE, IS_DONE, IS_COPY, IS_PUBLICATION, IS_ORPHAN, IS_LOGGING, IS_STRAY, IS_LOGGED };
enum { CRASH_BIT = 0, LOSS_BIT = 4, DUPLICATE_BIT = 8, TIMEOUT_BIT = 12, FAILURE_BIT = 16, INTERVENTION_BIT = 20, REPEAT_BIT = 24, OVERTAKE_BIT = 28 };
enum { SEARCH_FINE, SEARCH_RAISED, SEARCH_MEMORY, SEARCH_TOO_LARGE, SEARCH_UNFIT, SEARCH_LIMIT };
enum { EXPLORE, FIRST, CHANGES };
enum { NO_UPGRADE, STOP_LANE, SKIP_EVENT };

#define HAS(budget, bit) ((budget) >> (bit) & 15u)
#define ONE(bit) (1u << (bit))
#define REQUESTS_MASK 255u
#define VARIANT 8
#define ENDED_FLAG (1u << 16)
#define HALTED_FLAG (1u << 17)
#define UPGRADED 18 /* from here on a bit for each node */
#define DEAD_LETTER 28 /* four bits: the ninth budget, for which the word of the budgets has no room */
#define HAS_CRASHED 1
#define HAS_PAUSED 2
#define HAS_BEGUN 4

typedef struct { uint32_t op, a, b, c; int32_t value; } Answered;
typedef struct { uint32_t node[SEARCH_NODES], broker, seen, budget, rest, round, flying, net[SEARCH_NET]; } View;
typedef struct { uint8_t known, up, running, twice; uint32_t deaf, firm, has, positive, undone; } LocalFacts;
typedef struct { uint8_t known, kind; int32_t node, event; uint32_t tx; } ItemFacts;
typedef struct { uint8_t known, fault, wrong, refused, recovered; uint32_t needed, exempt; } SeenFacts;
/* What Python says of the model and of the properties, and what it reads. */
typedef struct {
  int32_t nodes, entry, messages, lasting, fused, most_rounds, crash, restart, hub, upgrade;
  uint32_t behind[8], writing;
  int32_t interventions, states, done, terminals, error, at; /* at: the state at hand */
  int64_t transitions;
} SearchHead;

typedef int32_t (*Asked)(uint32_t op, uint32_t a, uint32_t b, uint32_t c);

typedef struct {
  SearchHead head;
  Asked ask;
  jmp_buf *escape, *lenient; /* where an error leads; and one that only says that a way is not there to be taken */
  Answered *answer;
  uint32_t answers, answer_room;
  int32_t *data;
  uint32_t used, data_room;
  LocalFacts *local;
  ItemFacts *item;
  SeenFacts *seen;
  uint32_t local_room, item_room, seen_room;
  uint8_t *bytes;             /* the states' records */
  uint64_t byte_count, byte_room; /* there is room for one record more than that */
  uint64_t *block;            /* where the first record of each block of states begins */
  uint16_t *offset;           /* where each begins, from there */
  uint32_t *parent;
  uint32_t state_room;
  uint64_t *slot;             /* by hash: where a record begins, plus one, below a part of its hash */
  uint64_t slots;
  uint8_t waiting[WAITING * RECORD_BYTES];
  uint32_t waits, end_of_wait[WAITING], told[RECORD];
  uint64_t wait_hash[WAITING];
  uint32_t *terminal;
  uint32_t terminal_room;
  uint64_t *ending;           /* hashes of states from which an end is known to come */
  uint64_t endings, ending_room;
  int mode, enough;
  int64_t emitted;
  const View *here;
  View first;
} Search;

static void give_up_search(Search *S, int error) {
  S->head.error = error;
  longjmp(*S->escape, 1);
}

static void *more_of(Search *S, void *old, size_t count, size_t size) {
  void *memory = realloc(old, count * size);
  if (!memory) give_up_search(S, SEARCH_MEMORY);
  return memory;
}

/* --- questions and answers ---------------------------------------------------------------------------------------------------------------------- */

static uint32_t mixed(uint32_t op, uint32_t a, uint32_t b, uint32_t c) {
  uint64_t h = (uint64_t)a * 0x9E3779B97F4A7C15u ^ ((uint64_t)b << 32 | c) * 0xC2B2AE3D27D4EB4Fu ^ (uint64_t)op * 0x165667B19E3779F9u;
  h ^= h >> 29;
  h *= 0xBF58476D1CE4E5B9u;
  return (uint32_t)(h >> 32);
}

static Answered *place_of(Search *S, uint32_t op, uint32_t a, uint32_t b, uint32_t c) {
  uint32_t mask = S->answer_room - 1, at = mixed(op, a, b, c) & mask;
  for (;; at = (at + 1) & mask) {
    Answered *one = &S->answer[at];
    if (one->op == UINT32_MAX || (one->a == a && one->b == b && one->c == c && one->op == op)) return one;
  }
}

static void widen_answers(Search *S) {
  Answered *old = S->answer;
  uint32_t room = S->answer_room;
  Answered *wide = malloc((size_t)2 * room * sizeof *wide);
  if (!wide) give_up_search(S, SEARCH_MEMORY);
  S->answer = wide;
  S->answer_room = 2 * room;
  for (uint32_t i = 0; i < 2 * room; i++) wide[i].op = UINT32_MAX;
  for (uint32_t i = 0; i < room; i++)
    if (old[i].op != UINT32_MAX) *place_of(S, old[i].op, old[i].a, old[i].b, old[i].c) = old[i];
  free(old);
}

/* Ask Python, which may raise; then the search is over. */
static int32_t answer_of_python(Search *S, uint32_t op, uint32_t a, uint32_t b, uint32_t c) {
  int32_t value = S->ask(op, a, b, c);
  if (S->head.error == SEARCH_UNFIT && S->lenient) {
    S->head.error = SEARCH_FINE;
    longjmp(*S->lenient, 1);
  }
  if (S->head.error) longjmp(*S->escape, 1);
  return value;
}

static int32_t asked(Search *S, uint32_t op, uint32_t a, uint32_t b, uint32_t c) {
  Answered *one = place_of(S, op, a, b, c);
  if (one->op != UINT32_MAX) return one->value;
  int32_t value = answer_of_python(S, op, a, b, c);
  if (2 * (S->answers + 1) > S->answer_room) widen_answers(S);
  S->answers++;
  *place_of(S, op, a, b, c) = (Answered){op, a, b, c, value};
  return value;
}

#define FACTS(kind, Kind, OP)                                                                                                                  \
  static Kind *kind##_facts(Search *S, uint32_t number) {                                                                                      \
    if (number >= S->kind##_room) {                                                                                                            \
      uint32_t room = S->kind##_room ? S->kind##_room : 256;                                                                                   \
      while (room <= number) room *= 2;                                                                                                        \
      S->kind = more_of(S, S->kind, room, sizeof(Kind));                                                                                       \
      memset(S->kind + S->kind##_room, 0, (size_t)(room - S->kind##_room) * sizeof(Kind));                                                     \
      S->kind##_room = room;                                                                                                                   \
    }                                                                                                                                          \
    if (!S->kind[number].known) {                                                                                                              \
      answer_of_python(S, OP, number, 0, 0); /* which calls search_..., below */                                                               \
      S->kind[number].known = 1;                                                                                                               \
    }                                                                                                                                          \
    return &S->kind[number];                                                                                                                   \
  }
FACTS(local, LocalFacts, ASK_LOCAL)
FACTS(item, ItemFacts, ASK_ITEM)
FACTS(seen, SeenFacts, ASK_SEEN)

EXPORT void search_local(Search *S, uint32_t number, int up, int running, int twice, uint32_t deaf, uint32_t firm, uint32_t has, uint32_t positive, uint32_t undone) {
  S->local[number] = (LocalFacts){0, (uint8_t)up, (uint8_t)running, (uint8_t)twice, deaf, firm, has, positive, undone};
}
EXPORT void search_item(Search *S, uint32_t number, int kind, int node, int event, uint32_t tx) { S->item[number] = (ItemFacts){0, (uint8_t)kind, node, event, tx}; }
EXPORT void search_seen(Search *S, uint32_t number, int fault, int wrong, int refused, int recovered, uint32_t needed, uint32_t exempt) {
  S->seen[number] = (SeenFacts){0, (uint8_t)fault, (uint8_t)wrong, (uint8_t)refused, (uint8_t)recovered, needed, exempt};
}

/* Keep a list; it is known by its place. */
EXPORT int32_t search_list(Search *S, const int32_t *list, uint32_t length) {
  if (S->used + length > S->data_room) {
    uint32_t room = S->data_room;
    while (S->used + length > room) room *= 2;
    int32_t *data = realloc(S->data, (size_t)room * sizeof *data);
    if (!data) { S->head.error = SEARCH_MEMORY; return 0; }
    S->data = data;
    S->data_room = room;
  }
  memcpy(S->data + S->used, list, length * sizeof *list);
  S->used += length;
  return (int32_t)(S->used - length);
}

/* --- states ------------------------------------------------------------------------------------------------------------------------------------- */

static void copy_view(View *to, const View *from) {
  memcpy(to, from, offsetof(View, net) + from->flying * sizeof(uint32_t));
}

static uint64_t hash_of(const uint8_t *bytes, uint32_t count) {
  uint64_t h = 0x9E3779B97F4A7C15u ^ count;
  uint64_t word;
  for (; count >= sizeof word; count -= (uint32_t)sizeof word, bytes += sizeof word) {
    memcpy(&word, bytes, sizeof word);
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  }
  if (count) {
    word = 0;
    for (uint32_t i = 0; i < count; i++) word |= (uint64_t)bytes[i] << 8 * i;
    h = (h ^ word) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
  }
  h *= 0xBF58476D1CE4E5B9u;
  return h ^ h >> 31;
}

/* A word takes a byte for each seven bits of it; all but the last byte have their highest bit set. No record is then the beginning of another. */
static uint8_t *put_word(uint8_t *to, uint32_t word) {
  for (; word > 127; word >>= 7) *to++ = (uint8_t)(word | 128);
  *to++ = (uint8_t)word;
  return to;
}

static const uint8_t *get_word(const uint8_t *from, uint32_t *word) {
  uint32_t found = 0;
  for (int shift = 0;; shift += 7) {
    uint8_t one = *from++;
    found |= (uint32_t)(one & 127) << shift;
    if (one < 128) break;
  }
  *word = found;
  return from;
}

static uint32_t packed(Search *S, const View *view, uint8_t *bytes) {
  uint8_t *to = bytes;
  for (int i = 0; i < S->head.nodes; i++) to = put_word(to, view->node[i]);
  to = put_word(to, view->broker);
  to = put_word(to, view->seen);
  to = put_word(to, view->budget);
  to = put_word(to, view->rest);
  to = put_word(to, view->round);
  to = put_word(to, view->flying);
  uint32_t before = 0;
  for (uint32_t i = 0; i < view->flying; before = view->net[i++]) to = put_word(to, view->net[i] - before);
  return (uint32_t)(to - bytes);
}

static uint64_t start_of(Search *S, uint32_t state) { return S->block[state >> BLOCK] + S->offset[state]; }
static uint32_t length_of(Search *S, uint32_t state) {
  return (uint32_t)((state + 1 < (uint32_t)S->head.states ? start_of(S, state + 1) : S->byte_count) - start_of(S, state));
}

static void unpack(Search *S, uint32_t state, View *view) {
  const uint8_t *from = S->bytes + start_of(S, state);
  for (int i = 0; i < S->head.nodes; i++) from = get_word(from, &view->node[i]);
  from = get_word(from, &view->broker);
  from = get_word(from, &view->seen);
  from = get_word(from, &view->budget);
  from = get_word(from, &view->rest);
  from = get_word(from, &view->round);
  from = get_word(from, &view->flying);
  uint32_t before = 0;
  for (uint32_t i = 0; i < view->flying; i++) {
    from = get_word(from, &view->net[i]);
    before = view->net[i] += before;
  }
}

/* What a slot holds for a record: the upper 24 bits of its hash, so that others are hardly ever looked at, and its place. */
static uint64_t tagged(uint64_t hash, uint64_t start) { return hash >> 40 << 40 | (start + 1); }

static void widen_slots(Search *S) {
  free(S->slot); /* it is filled anew from the records: there need not be room for both */
  S->slot = NULL;
  uint64_t *slot = calloc((size_t)(2 * S->slots), sizeof *slot);
  if (!slot) give_up_search(S, SEARCH_MEMORY);
  S->slot = slot;
  S->slots *= 2;
  for (uint32_t state = 0; state < (uint32_t)S->head.states; state++) {
    uint64_t start = start_of(S, state), hash = hash_of(S->bytes + start, length_of(S, state)), at = hash & (S->slots - 1);
    while (slot[at]) at = (at + 1) & (S->slots - 1);
    slot[at] = tagged(hash, start);
  }
}

/* Take a state in, if it is new. */
static void take_in(Search *S, const uint8_t *bytes, uint32_t count, uint64_t hash, uint32_t parent) {
  uint64_t mask = S->slots - 1, at = hash & mask;
  for (; S->slot[at]; at = (at + 1) & mask)
    if (S->slot[at] >> 40 == hash >> 40 && !memcmp(S->bytes + ((S->slot[at] & (PLACE - 1)) - 1), bytes, count)) return;
  uint32_t state = (uint32_t)S->head.states;
  if (state == S->state_room) {
    if (state > UINT32_MAX / 4) give_up_search(S, SEARCH_TOO_LARGE);
    uint32_t room = 2 * S->state_room;
    S->block = more_of(S, S->block, room >> BLOCK, sizeof *S->block);
    S->offset = more_of(S, S->offset, room, sizeof *S->offset);
    S->parent = more_of(S, S->parent, room, sizeof *S->parent);
    S->state_room = room;
  }
  if (S->byte_count + count > S->byte_room) {
    uint64_t room = S->byte_room + S->byte_room / 2 + count;
    S->bytes = more_of(S, S->bytes, room + RECORD_BYTES, sizeof *S->bytes);
    S->byte_room = room;
  }
  memcpy(S->bytes + S->byte_count, bytes, count);
  if (!(state & ((1u << BLOCK) - 1))) S->block[state >> BLOCK] = S->byte_count;
  S->offset[state] = (uint16_t)(S->byte_count - S->block[state >> BLOCK]);
  S->parent[state] = parent;
  S->slot[at] = tagged(hash, S->byte_count);
  S->byte_count += count;
  S->head.states++;
  if ((uint64_t)S->head.states * 4 > S->slots * 3) widen_slots(S);
}

/* Take in what the state at hand leads to. Slots and records are far apart in memory, so they are sent for together, and looked at then. */
static void take_in_all(Search *S) {
  for (uint32_t i = 0; i < S->waits; i++) {
    uint64_t found = S->slot[S->wait_hash[i] & (S->slots - 1)];
    if (found) __builtin_prefetch(S->bytes + ((found & (PLACE - 1)) - 1));
  }
  for (uint32_t i = 0, begin = 0; i < S->waits; begin = S->end_of_wait[i++])
    take_in(S, S->waiting + begin, S->end_of_wait[i] - begin, S->wait_hash[i], (uint32_t)S->head.at);
  S->waits = 0;
}

static void discover(Search *S, const View *view) {
  if (S->waits == WAITING) take_in_all(S);
  uint32_t begin = S->waits ? S->end_of_wait[S->waits - 1] : 0, count = packed(S, view, S->waiting + begin);
  uint64_t hash = hash_of(S->waiting + begin, count);
  __builtin_prefetch(S->slot + (hash & (S->slots - 1)));
  S->wait_hash[S->waits] = hash;
  S->end_of_wait[S->waits++] = begin + count;
}

/* Forget the newest states, from this one on. */
static void forget_states(Search *S, uint32_t keep) {
  while ((uint32_t)S->head.states > keep) {
    uint32_t state = (uint32_t)S->head.states - 1;
    uint64_t start = start_of(S, state), at = hash_of(S->bytes + start, length_of(S, state)) & (S->slots - 1);
    while ((S->slot[at] & (PLACE - 1)) != start + 1) at = (at + 1) & (S->slots - 1);
    S->slot[at] = 0; /* nothing that came later is looked up by way of this slot */
    S->byte_count = start;
    S->head.states--;
  }
}

/* A step leads to this state. */
static void emit(Search *S, const View *view) {
  S->emitted++;
  switch (S->mode) {
  case EXPLORE: discover(S, view); return;
  case FIRST:
    copy_view(&S->first, view);
    S->enough = 1;
    return;
  case CHANGES: {
    const View *here = S->here;
    if (memcmp(view->node, here->node, (size_t)S->head.nodes * sizeof *view->node) || view->broker != here->broker || view->seen != here->seen || view->flying != here->flying ||
        memcmp(view->net, here->net, view->flying * sizeof *view->net))
      S->enough = 1;
  }
  }
}

/* --- steps -------------------------------------------------------------------------------------------------------------------------------------- */

static void fly(Search *S, View *view, uint32_t item) {
  if (view->flying == SEARCH_NET) give_up_search(S, SEARCH_TOO_LARGE);
  uint32_t at = view->flying++;
  for (; at && view->net[at - 1] > item; at--) view->net[at] = view->net[at - 1];
  view->net[at] = item;
}

static int is_up(Search *S, uint32_t local) { return local_facts(S, local)->up; }
static int is_running(Search *S, uint32_t local) { return local_facts(S, local)->running; }
static int is_deaf(Search *S, uint32_t local, uint32_t tx) { return (local_facts(S, local)->deaf & tx) != 0; }
static uint32_t calm(Search *S, uint32_t local) { return (uint32_t)asked(S, ASK_CALM, local, 0, 0); }

static void become(Search *S, const View *base, int node, int32_t digest, uint32_t budget);

static void cut_off(Search *S, const View *state, int node) {
  View after;
  copy_view(&after, state);
  if (after.broker) after.broker = (uint32_t)asked(S, ASK_RESET, after.broker, (uint32_t)node, 0);
  uint32_t orphan[SEARCH_ORPHANS];
  int orphans = 0;
  after.flying = 0;
  for (uint32_t i = 0; i < state->flying; i++) {
    ItemFacts item = *item_facts(S, state->net[i]);
    int listens = item.kind == IS_DONE || item.kind == IS_LOGGED, asks_for = item.kind == IS_PUBLICATION || item.kind == IS_LOGGING;
    if (item.node != node || !(listens || asks_for)) {
      after.net[after.flying++] = state->net[i];
    } else if (asks_for) {
      if (orphans == SEARCH_ORPHANS) give_up_search(S, SEARCH_TOO_LARGE);
      orphan[orphans++] = (uint32_t)asked(S, ASK_ORPHAN, state->net[i], 0, 0);
    }
  }
  int restart = S->head.fused && !HAS(state->budget, CRASH_BIT);
  for (int count = orphans; count >= 0; count--) {
    int chosen[SEARCH_ORPHANS];
    for (int i = 0; i < count; i++) chosen[i] = i;
    for (;;) {
      View one;
      copy_view(&one, &after);
      for (int i = 0; i < count; i++) fly(S, &one, orphan[chosen[i]]);
      if (restart) {
        int32_t digests = asked(S, ASK_REACT, one.node[node], (uint32_t)S->head.restart, 0);
        become(S, &one, node, digests + 1, one.budget);
      } else {
        emit(S, &one);
      }
      if (S->enough) return;
      int last = count - 1;
      while (last >= 0 && chosen[last] == orphans - count + last) last--;
      if (last < 0) break;
      chosen[last]++;
      for (int i = last + 1; i < count; i++) chosen[i] = chosen[i - 1] + 1;
    }
  }
}

/* A digest in the data: its length, the local state, flags, what is seen, how many are added, these, how many are acknowledged, these. */
static void become(Search *S, const View *base, int node, int32_t digest, uint32_t budget) {
  const int32_t *told = S->data + digest;
  uint32_t local = (uint32_t)told[1], flags = (uint32_t)told[2], outs = (uint32_t)told[3];
  int ended = (flags & (HAS_CRASHED | HAS_PAUSED)) != 0, quiet = !HAS(budget, CRASH_BIT);
  View after;
  copy_view(&after, base);
  after.budget = budget;
  if (local != base->node[node]) after.node[node] = quiet && !ended ? calm(S, local) : local;
  if (quiet && ended)
    for (int i = 0; i < S->head.nodes; i++) after.node[i] = calm(S, after.node[i]);
  int32_t adds = digest + 4, acks = adds + 1 + S->data[adds];
  for (int i = 0; i < S->data[adds]; i++) fly(S, &after, (uint32_t)S->data[adds + 1 + i]);
  if (outs) {
    after.seen = (uint32_t)asked(S, ASK_OBSERVE, base->seen, (uint32_t)node, outs);
    if (seen_facts(S, after.seen)->fault) {
      after.rest |= HALTED_FLAG;
      emit(S, &after);
      return;
    }
  }
  uint32_t again = after.broker;
  int acknowledged = S->data[acks];
  for (int i = 0; i < acknowledged; i++) {
    uint32_t identity = (uint32_t)S->data[acks + 1 + i];
    after.broker = (uint32_t)asked(S, ASK_ACKNOWLEDGE, after.broker, (uint32_t)node, identity);
    again = (uint32_t)asked(S, ASK_MARK, again, (uint32_t)node, identity << 1);
  }
  if (flags & HAS_CRASHED) cut_off(S, &after, node);
  else emit(S, &after);
  if (S->enough || !acknowledged || !HAS(budget, LOSS_BIT)) return;
  after.broker = again;
  after.budget -= ONE(LOSS_BIT);
  if (flags & HAS_CRASHED) cut_off(S, &after, node);
  else emit(S, &after);
}

static void react(Search *S, const View *base, int node, uint32_t event) {
  uint32_t budget = base->budget, local = base->node[node];
  int crash = event == (uint32_t)S->head.crash;
  int cuts = is_running(S, local) && !crash, paid = cuts || crash;
  int may_crash = paid || HAS(budget, CRASH_BIT);
  int32_t digests = asked(S, ASK_REACT, local, event, 0), at = digests + 1;
  for (int count = S->data[digests]; count; count--, at += S->data[at]) {
    uint32_t flags = (uint32_t)S->data[at + 2];
    int stops = (flags & (HAS_CRASHED | HAS_PAUSED)) != 0;
    if (stops && !may_crash) break;
    if ((flags & HAS_CRASHED) && cuts) continue;
    if (flags & HAS_BEGUN) {
      if (HAS(budget, OVERTAKE_BIT)) become(S, base, node, at, budget - ONE(OVERTAKE_BIT));
    } else {
      become(S, base, node, at, stops && !paid ? budget - ONE(CRASH_BIT) : budget);
    }
    if (S->enough) return;
  }
  if (!HAS(budget, FAILURE_BIT) || !(event & 1)) return;
  for (uint32_t fails = 1;; fails++) {
    digests = asked(S, ASK_REACT, local, event, fails);
    if (!S->data[digests]) return;
    become(S, base, node, digests + 1, budget - ONE(FAILURE_BIT));
    if (S->enough) return;
  }
}

static void unheard(Search *S, const View *after, uint32_t number) {
  ItemFacts item = *item_facts(S, number);
  uint32_t local = after->node[item.node];
  if (is_up(S, local) && !is_deaf(S, local, item.tx)) react(S, after, item.node, (uint32_t)asked(S, ASK_UNHEARD, number, 0, 0));
}

static void published(Search *S, const View *less, uint32_t number) {
  ItemFacts item = *item_facts(S, number);
  uint32_t anew = S->head.upgrade ? less->rest >> (UPGRADED + item.node) & 1 : 0, told = (uint32_t)asked(S, ASK_TOLD, number, anew, 0);
  View after;
  copy_view(&after, less);
  after.seen = (uint32_t)asked(S, ASK_OBSERVE, less->seen, (uint32_t)item.node, told);
  after.broker = (uint32_t)asked(S, ASK_STORE, less->broker, number, anew);
  if (item.kind != IS_ORPHAN) fly(S, &after, (uint32_t)asked(S, ASK_ACK, number, 0, 0));
  emit(S, &after);
  if (S->enough || item.kind == IS_ORPHAN) return;
  if (HAS(less->budget, LOSS_BIT)) {
    copy_view(&after, less);
    after.budget -= ONE(LOSS_BIT);
    unheard(S, &after, number);
    if (S->enough) return;
  }
  if (HAS(less->budget, TIMEOUT_BIT)) {
    copy_view(&after, less);
    after.budget -= ONE(TIMEOUT_BIT);
    fly(S, &after, (uint32_t)asked(S, ASK_ORPHAN, number, 0, 0));
    unheard(S, &after, number);
  }
}

static void logged(Search *S, const View *less, uint32_t number) {
  ItemFacts item = *item_facts(S, number);
  uint32_t told = (uint32_t)asked(S, ASK_TOLD, number, 0, 0), heard = (uint32_t)asked(S, ASK_OBSERVE, less->seen, (uint32_t)item.node, told);
  View after;
  copy_view(&after, less);
  after.seen = heard;
  if (item.kind != IS_STRAY) fly(S, &after, (uint32_t)asked(S, ASK_VOTE, number, heard, 1));
  emit(S, &after);
  if (S->enough || item.kind == IS_STRAY) return;
  if (HAS(less->budget, LOSS_BIT)) {
    copy_view(&after, less);
    after.budget -= ONE(LOSS_BIT);
    emit(S, &after);
    if (S->enough) return;
  }
  if (HAS(less->budget, FAILURE_BIT)) {
    copy_view(&after, less);
    after.budget -= ONE(FAILURE_BIT);
    fly(S, &after, (uint32_t)asked(S, ASK_VOTE, number, 0, 0));
    emit(S, &after);
  }
}

/* A head in the data: consumer, transaction, its bit, id, item, whether it was delivered, whether it is of the new version. */
#define HEAD_WORDS 7
static int is_unreadable(Search *S, int32_t head, uint32_t rest) {
  return S->head.upgrade && S->data[head + 6] && !(rest >> (UPGRADED + S->data[head]) & 1);
}

/* A message leaves the broker, and nobody gets it. */
static void emit_without(Search *S, const View *state, int32_t head, uint32_t cost) {
  View after;
  copy_view(&after, state);
  after.broker = (uint32_t)asked(S, ASK_ACKNOWLEDGE, state->broker, (uint32_t)S->data[head], (uint32_t)S->data[head + 3]);
  after.rest -= cost;
  emit(S, &after);
}

static void deliver_head(Search *S, const View *state, int32_t head, int again) {
  int32_t consumer = S->data[head], tx = S->data[head + 1], identity = S->data[head + 3], number = S->data[head + 4];
  uint32_t event = (uint32_t)asked(S, ASK_DELIVERY, (uint32_t)number, (uint32_t)tx, (uint32_t)identity);
  View after;
  copy_view(&after, state);
  after.broker = (uint32_t)asked(S, ASK_MARK, state->broker, (uint32_t)consumer, (uint32_t)identity << 1 | 1);
  react(S, &after, consumer, event);
  if (S->enough || again || !HAS(state->budget, DUPLICATE_BIT)) return;
  fly(S, &after, (uint32_t)asked(S, ASK_COPY, (uint32_t)number, (uint32_t)tx, (uint32_t)identity));
  after.budget -= ONE(DUPLICATE_BIT);
  react(S, &after, consumer, event);
}

static void arrivals(Search *S, const View *state) {
  uint32_t last = UINT32_MAX, budget = state->budget;
  for (uint32_t position = 0; position < state->flying; position++) {
    uint32_t number = state->net[position];
    if (number == last) continue;
    last = number;
    ItemFacts item = *item_facts(S, number);
    View less;
    copy_view(&less, state);
    memmove(less.net + position, less.net + position + 1, (state->flying - position - 1) * sizeof *less.net);
    less.flying--;
    if (item.kind == IS_PUBLICATION || item.kind == IS_ORPHAN) {
      published(S, &less, number);
      if (S->enough) return;
      continue;
    }
    if (item.kind == IS_LOGGING || item.kind == IS_STRAY) {
      logged(S, &less, number);
      if (S->enough) return;
      continue;
    }
    uint32_t local = state->node[item.node];
    if (!is_up(S, local)) {
      emit(S, &less);
      if (S->enough) return;
      continue;
    }
    if (item.kind != IS_DONE && HAS(budget, LOSS_BIT)) {
      less.budget = budget - ONE(LOSS_BIT);
      emit(S, &less);
      less.budget = budget;
      if (S->enough) return;
    }
    if (is_deaf(S, local, item.tx)) continue;
    react(S, &less, item.node, (uint32_t)item.event);
    if (S->enough) return;
    if (item.kind == IS_MESSAGE && HAS(budget, DUPLICATE_BIT)) {
      View copied;
      copy_view(&copied, state);
      copied.budget -= ONE(DUPLICATE_BIT);
      react(S, &copied, item.node, (uint32_t)item.event);
      if (S->enough) return;
    }
    if (item.kind == IS_DONE)
      for (int i = 0; i < 2; i++) {
        int bit = i ? TIMEOUT_BIT : LOSS_BIT;
        if (!HAS(budget, bit)) continue;
        less.budget = budget - ONE(bit);
        unheard(S, &less, number);
        less.budget = budget;
        if (S->enough) return;
      }
  }
  if (!state->broker) return;
  int32_t heads = asked(S, ASK_HEADS, state->broker, 0, 0), at = heads + 1;
  for (int count = S->data[heads]; count; count--, at += HEAD_WORDS) {
    uint32_t local = state->node[S->data[at]];
    int listens = !is_deaf(S, local, (uint32_t)S->data[at + 2]), reads = listens && is_up(S, local);
    if (state->rest >> DEAD_LETTER && listens) {
      emit_without(S, state, at, 1u << DEAD_LETTER);
      if (S->enough) return;
    }
    if (is_unreadable(S, at, state->rest)) {
      if (S->head.upgrade == SKIP_EVENT && reads) emit_without(S, state, at, 0);
      if (S->enough) return;
      continue;
    }
    if (S->data[at + 5] || !reads) continue;
    deliver_head(S, state, at, 0);
    if (S->enough) return;
  }
}

static void client_asks(Search *S, const View *state, int again) {
  int entry = S->head.entry;
  uint32_t local = state->node[entry];
  if (!is_up(S, local)) return;
  for (int tx = 0; tx < S->head.messages; tx++) {
    if ((state->rest >> tx & 1) == (uint32_t)again || is_deaf(S, local, 1u << tx)) continue;
    View after;
    copy_view(&after, state);
    if (again) after.budget -= ONE(REPEAT_BIT);
    else after.rest &= ~(1u << tx);
    uint32_t event = (uint32_t)asked(S, ASK_REQUEST, state->rest >> VARIANT & REQUESTS_MASK, (uint32_t)tx, 0);
    if (!(after.rest & REQUESTS_MASK) && !HAS(after.budget, REPEAT_BIT)) after.rest &= ~(REQUESTS_MASK << VARIANT);
    react(S, &after, entry, event);
    if (S->enough) return;
  }
}

static void asks(Search *S, const View *state, int node, int tx, uint32_t from) {
  uint32_t stuck = (uint32_t)asked(S, ASK_STUCK, state->seen, (uint32_t)node, (uint32_t)tx);
  int32_t kinds = asked(S, ASK_ASKS, state->node[node], (uint32_t)tx, from << 1 | stuck), at = kinds + 1;
  for (int count = S->data[kinds]; count; count--, at += 2) {
    View after;
    copy_view(&after, state);
    after.seen = (uint32_t)asked(S, ASK_OBSERVE, state->seen, (uint32_t)node, (uint32_t)S->data[at + 1]);
    react(S, &after, node, (uint32_t)S->data[at]);
    if (S->enough) return;
  }
}

static void intervened(Search *S, const View *state) {
  View cheaper;
  copy_view(&cheaper, state);
  cheaper.budget -= ONE(INTERVENTION_BIT);
  for (int node = 0; node < S->head.nodes; node++) {
    uint32_t local = state->node[node];
    if ((S->head.hub >= 0 && S->head.hub != node) || !is_up(S, local) || is_running(S, local)) continue;
    for (int tx = 0; tx < S->head.messages; tx++)
      if (!(state->rest >> tx & 1) && !is_deaf(S, local, 1u << tx)) {
        asks(S, &cheaper, node, tx, 0);
        if (S->enough) return;
      }
  }
}

static void attended(Search *S, const View *state) {
  View anew;
  copy_view(&anew, state);
  anew.round = 0;
  int32_t stuck = asked(S, ASK_ATTENDED, state->seen, 0, 0), at = stuck + 1;
  for (int count = S->data[stuck]; count; count--, at += 3) {
    int node = S->data[at], tx = S->data[at + 1];
    uint32_t retried = (uint32_t)S->data[at + 2];
    if (!((uint32_t)asked(S, ASK_BUSY, state->node[node], 0, 0) >> tx & 1)) continue;
    asks(S, &anew, node, tx, retried);
    if (S->enough) return;
  }
}

static int can_upgrade(Search *S, const View *state, int node) {
  uint32_t local = state->node[node];
  return is_up(S, local) && !is_running(S, local) && !(state->rest >> (UPGRADED + node) & 1);
}

static int may_upgrade(Search *S, const View *state) {
  for (int node = 0; S->head.upgrade && node < S->head.nodes; node++)
    if (can_upgrade(S, state, node)) return 1;
  return 0;
}

static void upgrades(Search *S, const View *state) {
  for (int node = 0; node < S->head.nodes; node++) {
    if (!can_upgrade(S, state, node)) continue;
    View anew;
    copy_view(&anew, state);
    anew.rest |= 1u << (UPGRADED + node);
    anew.round = 0;
    emit(S, &anew);
    if (S->enough) return;
  }
}

/* A timer in the data: the bit of its transaction, the event, whether it is a daemon's, its key among all that take turns. */
#define TIMER_WORDS 4
static void time_passes(Search *S, const View *state) {
  struct { uint32_t key, event; int32_t node, head; } waiting[SEARCH_NET];
  int waits = 0;
  for (int node = 0; node < S->head.nodes; node++) {
    int32_t timers = asked(S, ASK_TIMERS, state->node[node], 0, 0), at = timers + 1;
    for (int count = S->data[timers]; count; count--, at += TIMER_WORDS) {
      if (S->data[at + 2]) continue;
      if (waits == SEARCH_NET) give_up_search(S, SEARCH_TOO_LARGE);
      waiting[waits].key = (uint32_t)S->data[at + 3];
      waiting[waits].event = (uint32_t)S->data[at + 1];
      waiting[waits].node = node;
      waiting[waits++].head = -1;
    }
  }
  if (state->broker) {
    int32_t heads = asked(S, ASK_HEADS, state->broker, 0, 0), at = heads + 1;
    for (int count = S->data[heads]; count; count--, at += HEAD_WORDS) {
      if (is_unreadable(S, at, state->rest)) continue;
      int mode = S->mode;
      int64_t emitted = S->emitted;
      const View *here = S->here;
      S->mode = CHANGES;
      S->here = state;
      deliver_head(S, state, at, 1);
      int changed = S->enough;
      S->mode = mode;
      S->here = here;
      S->enough = 0;
      S->emitted = emitted;
      if (!changed) continue;
      if (waits == SEARCH_NET) give_up_search(S, SEARCH_TOO_LARGE);
      waiting[waits].key = (uint32_t)asked(S, ASK_HEAD_KEY, (uint32_t)S->data[at], (uint32_t)S->data[at + 1], 0);
      waiting[waits++].head = at;
    }
  }
  uint32_t anew = 1;
  for (int i = 0; i < waits; i++)
    if (!asked(S, ASK_FIRED, state->round, waiting[i].key, 0)) anew = 0;
  if (!waits || asked(S, ASK_COUNT, state->round, 0, 0) + (int32_t)anew >= S->head.most_rounds) {
    int64_t before_that = S->emitted;
    if (S->head.interventions) attended(S, state);
    if (S->emitted != before_that || may_upgrade(S, state)) return; /* sooner or later everybody is upgraded */
    View rest;
    copy_view(&rest, state);
    rest.rest |= ENDED_FLAG;
    rest.round = 0;
    emit(S, &rest);
    return;
  }
  for (int i = 0; i < waits; i++) {
    if (!anew && asked(S, ASK_FIRED, state->round, waiting[i].key, 0)) continue;
    View later;
    copy_view(&later, state);
    later.round = (uint32_t)asked(S, ASK_TURN, state->round, waiting[i].key, anew);
    if (waiting[i].head < 0) react(S, &later, waiting[i].node, waiting[i].event);
    else deliver_head(S, &later, waiting[i].head, 1);
    if (S->enough) return;
  }
}

static void timers_of(Search *S, const View *base, int node, int daemons, int *busy) {
  int32_t timers = asked(S, ASK_TIMERS, base->node[node], 0, 0), at = timers + 1;
  for (int count = S->data[timers]; count; count--, at += TIMER_WORDS) {
    if (S->data[at + 2] != daemons) continue;
    *busy = 1;
    react(S, base, node, (uint32_t)S->data[at + 1]);
    if (S->enough) return;
  }
}

static void successors(Search *S, const View *state) {
  uint32_t budget = state->budget;
  int busy, ignored = 0, nodes = S->head.nodes;
  if (state->rest & (ENDED_FLAG | HALTED_FLAG)) return;
  int64_t emitted_before = S->emitted;
  arrivals(S, state);
  if (S->enough) return;
  busy = S->emitted != emitted_before;
  if ((state->rest & REQUESTS_MASK) && (!S->head.lasting || is_up(S, state->node[S->head.entry]))) {
    busy = 1;
    client_asks(S, state, 0);
    if (S->enough) return;
  }
  if (HAS(budget, REPEAT_BIT)) {
    client_asks(S, state, 1);
    if (S->enough) return;
  }
  for (int node = 0; node < nodes; node++) {
    uint32_t local = state->node[node];
    if (!is_up(S, local)) {
      if (!S->head.lasting) {
        busy = 1;
        react(S, state, node, (uint32_t)S->head.restart);
        if (S->enough) return;
      }
      continue;
    }
    if (is_running(S, local)) {
      busy = 1;
      react(S, state, node, (uint32_t)S->head.crash);
      if (S->enough) return;
    }
    int32_t under_way = asked(S, ASK_UNDER_WAY, local, 0, 0);
    for (int i = 0; i < S->data[under_way]; i++) {
      busy = 1;
      react(S, state, node, (uint32_t)S->data[under_way + 1 + i]);
      if (S->enough) return;
    }
    timers_of(S, state, node, 1, &busy);
    if (S->enough) return;
  }
  if (HAS(budget, INTERVENTION_BIT)) {
    intervened(S, state);
    if (S->enough) return;
  }
  if (S->head.upgrade) {
    upgrades(S, state);
    if (S->enough) return;
  }
  View cheaper;
  if (busy && HAS(budget, TIMEOUT_BIT)) {
    copy_view(&cheaper, state);
    cheaper.budget = budget - ONE(TIMEOUT_BIT);
    for (int node = 0; node < nodes; node++) {
      timers_of(S, &cheaper, node, 0, &ignored);
      if (S->enough) return;
    }
  }
  if (HAS(budget, CRASH_BIT)) {
    copy_view(&cheaper, state);
    cheaper.budget = budget - ONE(CRASH_BIT);
    for (int node = 0; node < nodes; node++)
      if (is_up(S, state->node[node]) && !is_running(S, state->node[node])) {
        react(S, &cheaper, node, (uint32_t)S->head.crash);
        if (S->enough) return;
      }
  }
  if (!busy) time_passes(S, state);
}

/* --- properties --------------------------------------------------------------------------------------------------------------------------------- */

enum { AGREEMENT = 1, ORDER = 2, CONTRACT = 4, DURABLE_VOTES = 8, EFFECT_ONCE = 16, UNDO_ORDER = 32, TERMINATION = 64, COMMIT_GOAL = 128, ABORT_GOAL = 256,
       RECOVERY_GOAL = 512, PROPERTIES = 10 };

static uint32_t in_force(Search *S, const uint32_t *node) {
  uint32_t force = 0;
  for (int i = 0; i < S->head.nodes; i++) {
    LocalFacts *local = local_facts(S, node[i]);
    force = (force & ~local->has) | local->positive;
  }
  return force;
}

static int knows_end(Search *S, uint64_t hash) {
  for (uint64_t at = hash & (S->ending_room - 1); S->ending[at]; at = (at + 1) & (S->ending_room - 1))
    if (S->ending[at] == hash) return 1;
  return 0;
}

static void note_end(Search *S, uint64_t hash) {
  if (knows_end(S, hash)) return;
  if (2 * (S->endings + 1) > S->ending_room) {
    uint64_t *old = S->ending, room = S->ending_room;
    if (room == ENDINGS) { /* what is forgotten is found out again */
      memset(old, 0, (size_t)room * sizeof *old);
      S->endings = 0;
      note_end(S, hash);
      return;
    }
    uint64_t *wide = calloc((size_t)room * 2, sizeof *wide);
    if (!wide) give_up_search(S, SEARCH_MEMORY);
    S->ending = wide;
    S->ending_room = 2 * room;
    S->endings = 0;
    for (uint64_t i = 0; i < room; i++)
      if (old[i]) note_end(S, old[i]);
    free(old);
  }
  uint64_t at = hash & (S->ending_room - 1);
  while (S->ending[at]) at = (at + 1) & (S->ending_room - 1);
  S->ending[at] = hash;
  S->endings++;
}

/* Whether the state can come to rest. Python looks closer where the first thing that can happen, and then the first again, goes round or on and on. */
static int ends(Search *S, uint32_t state) {
  uint64_t way[WAY];
  uint8_t bytes[RECORD_BYTES];
  int steps = 0;
  View here;
  unpack(S, state, &here);
  jmp_buf nowhere;
  S->lenient = &nowhere;
  S->mode = FIRST;
  if (setjmp(nowhere)) { /* the search comes there itself, and tells of it */
    S->lenient = NULL;
    S->mode = EXPLORE;
    return 1;
  }
  while (!(here.rest & (ENDED_FLAG | HALTED_FLAG))) {
    uint64_t hash = hash_of(bytes, packed(S, &here, bytes)) | 1;
    if (knows_end(S, hash)) break;
    int round = steps == WAY; /* a circle goes on until then, unless it is a small one */
    for (int i = steps; i-- && i >= steps - 16 && !round;) round = way[i] == hash;
    if (round) {
      S->lenient = NULL;
      S->mode = EXPLORE;
      if (!answer_of_python(S, ASK_ENDS, state, 0, 0)) return 0;
      note_end(S, way[0]);
      return 1;
    }
    way[steps++] = hash;
    S->enough = 0;
    successors(S, &here);
    S->enough = 0;
    copy_view(&here, &S->first);
  }
  S->lenient = NULL;
  S->mode = EXPLORE;
  for (int i = 0; i < steps; i++) note_end(S, way[i]);
  return 1;
}

static int undone_out_of_order(Search *S, const uint32_t *node, const SeenFacts *seen) {
  uint32_t undone = 0;
  for (int i = 0; i < S->head.nodes; i++) undone |= local_facts(S, node[i])->undone;
  undone &= ~seen->exempt;
  if (!undone) return 0;
  uint32_t force = in_force(S, node);
  for (int bit = 0; bit < 32; bit++)
    if (undone >> bit & 1 && force & S->head.behind[bit & 7] << (bit & ~7)) return 1;
  return 0;
}

/* Which of the open properties a state decides: an invariant that it violates, a goal that it reaches. */
static uint32_t decides(Search *S, uint32_t state, uint32_t open) {
  View view;
  unpack(S, state, &view);
  const uint32_t *node = view.node;
  uint32_t nodes = (uint32_t)S->head.nodes, rest = view.rest;
  for (uint32_t i = 0; i < nodes; i++) local_facts(S, node[i]);
  SeenFacts seen = *seen_facts(S, view.seen);
  uint32_t found = seen.wrong & open;
  if (open & DURABLE_VOTES && (seen.refused || seen.needed)) {
    uint32_t firm = 0;
    for (uint32_t i = 0; i < nodes; i++) firm |= S->local[node[i]].firm;
    if (seen.refused || seen.needed & ~firm) found |= DURABLE_VOTES;
  }
  if (open & EFFECT_ONCE)
    for (uint32_t i = 0; i < nodes; i++)
      if (S->local[node[i]].twice) found |= EFFECT_ONCE;
  if (open & UNDO_ORDER && undone_out_of_order(S, node, &seen)) found |= UNDO_ORDER;
  if (open & RECOVERY_GOAL && seen.recovered) found |= RECOVERY_GOAL;
  if (rest & ENDED_FLAG && open & (COMMIT_GOAL | ABORT_GOAL)) {
    uint32_t force = in_force(S, node) & S->head.writing;
    if (force == S->head.writing) found |= COMMIT_GOAL & open;
    if (!force) found |= ABORT_GOAL & open;
  }
  if (open & TERMINATION && !view.budget && !(rest >> DEAD_LETTER) && !ends(S, state)) found |= TERMINATION;
  return found;
}

/* --- calls from Python -------------------------------------------------------------------------------------------------------------------------- */

EXPORT uint32_t search_head_size(void) { return sizeof(SearchHead); }

EXPORT void search_free(Search *S) {
  if (!S) return;
  void *all[] = {S->answer, S->data, S->local, S->item, S->seen, S->bytes, S->block, S->offset, S->parent, S->slot, S->terminal, S->ending};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  free(S);
}

EXPORT Search *search_new(const SearchHead *head, Asked ask) {
  Search *S = calloc(1, sizeof *S);
  if (!S) return NULL;
  S->head = *head;
  S->ask = ask;
  S->answer_room = 1u << 12;
  S->data_room = 1u << 12;
  S->byte_room = S->slots = S->state_room = 1u << 12;
  S->ending_room = 1u << 10;
  S->terminal_room = 1u << 8;
  S->answer = malloc(S->answer_room * sizeof *S->answer);
  S->data = malloc(S->data_room * sizeof *S->data);
  S->bytes = malloc(S->byte_room + RECORD_BYTES);
  S->block = malloc((S->state_room >> BLOCK) * sizeof *S->block);
  S->offset = malloc(S->state_room * sizeof *S->offset);
  S->parent = malloc(S->state_room * sizeof *S->parent);
  S->slot = calloc(S->slots, sizeof *S->slot);
  S->ending = calloc((size_t)S->ending_room, sizeof *S->ending);
  S->terminal = malloc(S->terminal_room * sizeof *S->terminal);
  if (!S->answer || !S->data || !S->bytes || !S->block || !S->offset || !S->parent || !S->slot || !S->ending || !S->terminal) {
    search_free(S);
    return NULL;
  }
  for (uint32_t i = 0; i < S->answer_room; i++) S->answer[i].op = UINT32_MAX;
  return S;
}

EXPORT SearchHead *search_head(Search *S) { return &S->head; }
EXPORT const uint32_t *search_terminals(Search *S) { return S->terminal; }
EXPORT uint32_t search_parent(Search *S, uint32_t state) { return S->parent[state]; }

/* The words of a state, until the next one is asked for. */
EXPORT const uint32_t *search_words(Search *S, uint32_t state) {
  View view;
  unpack(S, state, &view);
  uint32_t nodes = (uint32_t)S->head.nodes;
  memcpy(S->told, view.node, nodes * sizeof *S->told);
  memcpy(S->told + nodes, &view.broker, (6 + view.flying) * sizeof *S->told); /* broker, seen, budget, rest, round, flying, net */
  return S->told;
}

/* An initial state: its words. */
EXPORT int search_root(Search *S, const uint32_t *words) {
  jmp_buf here;
  S->escape = &here;
  if (setjmp(here)) return S->head.error;
  View view;
  memcpy(view.node, words, (size_t)S->head.nodes * sizeof *words);
  memcpy(&view.broker, words + S->head.nodes, 6 * sizeof *words);
  S->head.at = -1;
  discover(S, &view);
  take_in_all(S);
  return 0;
}

/* Expand the next states, up to this one, as long as there are no more states than `limit` (0: any number). */
EXPORT int search_expand(Search *S, uint32_t until, uint32_t limit) {
  jmp_buf here;
  S->escape = &here;
  S->mode = EXPLORE;
  S->enough = 0;
  if (setjmp(here)) return S->head.error;
  while ((uint32_t)S->head.done < until) {
    uint32_t state = (uint32_t)S->head.done;
    View view;
    unpack(S, state, &view);
    S->head.at = (int32_t)state;
    S->emitted = 0;
    successors(S, &view);
    take_in_all(S);
    if (limit && (uint32_t)S->head.states > limit) {
      forget_states(S, limit);
      return SEARCH_LIMIT;
    }
    S->head.transitions += S->emitted;
    if (!S->emitted) {
      if ((uint32_t)S->head.terminals == S->terminal_room) {
        S->terminal = more_of(S, S->terminal, 2 * (size_t)S->terminal_room, sizeof *S->terminal);
        S->terminal_room *= 2;
      }
      S->terminal[S->head.terminals++] = state;
    }
    S->head.done++;
  }
  return 0;
}

/* For each property that is open, the first of these states that decides it; -1 where there is none. */
EXPORT int search_settle(Search *S, uint32_t from, uint32_t until, uint32_t wanted, int32_t *first) {
  jmp_buf here;
  S->escape = &here;
  S->enough = 0;
  S->mode = EXPLORE;
  for (int i = 0; i < PROPERTIES; i++) first[i] = -1;
  if (setjmp(here)) return S->head.error;
  uint32_t open = wanted;
  for (uint32_t state = from; state < until && open; state++) {
    S->head.at = (int32_t)state;
    uint32_t found = decides(S, state, open);
    open &= ~found;
    for (int i = 0; found; i++, found >>= 1)
      if (found & 1) first[i] = (int32_t)state;
  }
  return 0;
}
