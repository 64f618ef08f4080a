/* A whole transport in C: one message is one frame on a bus. What a transport promises is in the WIT
   (`wit/transport`); the numbers below say where it is kept.

   The publisher and the subscriber run in separate instances, so they share none of these variables. */

#include "codec.h"

/* What one poll takes at most; a larger unit only costs memory. */
#define MAX_BYTES (1024 * 1024)

static switchboard_bus_bus_own_sender_t sender;
static switchboard_bus_bus_own_subscription_t subscription;
static bus_transport_string_t this_node;

/* The host's own copy of a text, freed when the host has it. */
static bus_transport_string_t text(const char *words) {
  bus_transport_string_t text;
  bus_transport_string_dup(&text, words);
  return text;
}

/* Takes the words of an error of the bus over. */
static bus_transport_string_t words_of(switchboard_bus_bus_error_t *error) {
  if (error->tag == SWITCHBOARD_BUS_BUS_ERROR_TOO_LARGE) {
    return text("larger than the bus allows");
  }
  return error->val.denied;
}

static bool is_empty_object(bus_transport_string_t *options) {
  return options->len == 2 && memcmp(options->ptr, "{}", 2) == 0;
}

typedef switchboard_transport_lifecycle_open_failure_t open_failure_t;
typedef switchboard_transport_lifecycle_failure_t failure_t;

static bool not_open(open_failure_t *failure, switchboard_bus_bus_error_t *error) {
  failure->tag = error->tag == SWITCHBOARD_BUS_BUS_ERROR_DENIED
                     ? SWITCHBOARD_TRANSPORT_LIFECYCLE_OPEN_FAILURE_UNSUPPORTED
                     : SWITCHBOARD_TRANSPORT_LIFECYCLE_OPEN_FAILURE_UNAVAILABLE;
  failure->val.unavailable = words_of(error);
  return false;
}

static bool has_options(open_failure_t *failure) {
  failure->tag = SWITCHBOARD_TRANSPORT_LIFECYCLE_OPEN_FAILURE_INVALID_CONFIG;
  failure->val.invalid_config = text("this transport has no options: leave `options` empty");
  return false;
}

/* ---- The way out. */

bool exports_switchboard_transport_publisher_open(
    exports_switchboard_transport_publisher_config_t *config,
    exports_switchboard_transport_publisher_transport_info_t *info, open_failure_t *failure) {
  bool has_none = is_empty_object(&config->options);
  exports_switchboard_transport_publisher_config_free(config);
  if (!has_none) return has_options(failure);
  bus_transport_string_t main;
  bus_transport_string_set(&main, "main");
  switchboard_bus_bus_error_t error;
  if (!switchboard_bus_bus_static_sender_open(&main, &sender, &error)) {
    return not_open(failure, &error);
  }
  /* (1) Nothing is counted here: the host does that, by heartbeats. */
  info->membership = SWITCHBOARD_TRANSPORT_LIFECYCLE_MEMBERSHIP_HEARTBEATS;
  info->rooms_query = info->custom_query = info->reports_leaving = true;
  return true;
}

typedef exports_switchboard_transport_publisher_list_run_t batch_t;

/* The messages of a batch, each with what those of its run have in common. All that they point to still
   belongs to the batch. A letter travels alone, so an `again` takes along whom it is for. */
static letter_t *letters_of(batch_t *batch, size_t *count) {
  *count = 0;
  for (size_t n = 0; n < batch->len; n++) *count += batch->ptr[n].messages.len;
  letter_t *letters = some(*count, sizeof(letter_t));
  letter_t *next = letters;
  for (size_t n = 0; n < batch->len; n++) {
    M(run) *run = &batch->ptr[n];
    M(target) *last = NULL;
    for (size_t m = 0; m < run->messages.len; m++) {
      M(message) *message = &run->messages.ptr[m];
      if (message->body.tag == SWITCHBOARD_TRANSPORT_MESSAGES_BODY_BROADCAST) {
        last = &message->body.val.broadcast.target;
      }
      bool is_again = message->body.tag == SWITCHBOARD_TRANSPORT_MESSAGES_BODY_AGAIN;
      *next++ = (letter_t){&run->namespace_, &run->sender, message, is_again ? last : NULL};
    }
  }
  return letters;
}

static void free_batch(batch_t *batch) {
  for (size_t n = 0; n < batch->len; n++) {
    M(run) *run = &batch->ptr[n];
    for (size_t m = 0; m < run->messages.len; m++) free_attachments(&run->messages.ptr[m].body);
  }
  exports_switchboard_transport_publisher_list_run_free(batch);
}

/* (2) The frames leave in this order, all of them or none. */
static bool send(letter_t *letters, size_t count, switchboard_bus_bus_error_t *error) {
  bus_transport_list_list_u8_t frames = {some(count, sizeof(bus_transport_list_u8_t)), count};
  for (size_t n = 0; n < count; n++) {
    codec_t counter = {0};
    visit_letter(&counter, &letters[n]);
    codec_t writer = {.bytes = some(counter.len, 1)};
    visit_letter(&writer, &letters[n]);
    frames.ptr[n] = (bus_transport_list_u8_t){writer.bytes, writer.len};
  }
  bool is_sent = switchboard_bus_bus_method_sender_send(
      switchboard_bus_bus_borrow_sender(sender), &frames, error);
  for (size_t n = 0; n < count; n++) free(frames.ptr[n].ptr);
  free(frames.ptr);
  return is_sent;
}

bool exports_switchboard_transport_publisher_publish(
    batch_t *batch, double first, bus_transport_list_string_t *offsets,
    exports_switchboard_transport_publisher_publish_failure_t *failure) {
  (void)first;
  switchboard_bus_bus_error_t error;
  size_t accepted = 0, count;
  letter_t *letters = letters_of(batch, &count);
  bool is_sent = send(letters, count, &error);
  if (!is_sent && error.tag == SWITCHBOARD_BUS_BUS_ERROR_TOO_LARGE) {
    /* Together they are too large: each goes alone, to find the one that can never go. */
    do {
      is_sent = send(&letters[accepted], 1, &error);
    } while (is_sent && ++accepted < count);
  }
  free(letters);
  free_batch(batch);
  memset(offsets, 0, sizeof *offsets);
  if (is_sent) return true;
  /* (3) How many were accepted is exact, so that nothing is lost or sent twice. */
  memset(failure, 0, sizeof *failure);
  failure->accepted = (uint32_t)accepted;
  failure->reason.tag = error.tag == SWITCHBOARD_BUS_BUS_ERROR_TOO_LARGE
                            ? SWITCHBOARD_TRANSPORT_LIFECYCLE_FAILURE_REJECTED
                            : SWITCHBOARD_TRANSPORT_LIFECYCLE_FAILURE_UNAVAILABLE;
  failure->reason.val.unavailable = words_of(&error);
  return false;
}

bool exports_switchboard_transport_publisher_count_nodes(
    exports_switchboard_transport_publisher_namespace_t *namespace_,
    bus_transport_option_u32_t *count, failure_t *failure) {
  (void)failure;
  bus_transport_string_free(namespace_);
  count->is_some = false;
  return true;
}

void exports_switchboard_transport_publisher_close(void) {
  switchboard_bus_bus_method_sender_close(switchboard_bus_bus_borrow_sender(sender));
}

/* ---- The way in. */

bool exports_switchboard_transport_subscriber_open(
    exports_switchboard_transport_subscriber_config_t *config,
    bus_transport_string_t *maybe_resume_from, open_failure_t *failure) {
  /* (4) The subscription is the host's and outlives this instance, so there is nothing to resume. */
  if (maybe_resume_from != NULL) bus_transport_string_free(maybe_resume_from);
  bool has_none = is_empty_object(&config->options);
  bus_transport_string_free(&config->options);
  this_node = config->node;
  if (!has_none) return has_options(failure);
  bus_transport_string_t main;
  bus_transport_string_set(&main, "main");
  switchboard_bus_bus_error_t error;
  if (!switchboard_bus_bus_static_subscription_open(&main, &subscription, &error)) {
    return not_open(failure, &error);
  }
  return true;
}

/* What comes for other namespaces, the host passes over. */
bool exports_switchboard_transport_subscriber_enter(
    exports_switchboard_transport_subscriber_namespace_t *namespace_, failure_t *failure) {
  (void)failure;
  bus_transport_string_free(namespace_);
  return true;
}

void exports_switchboard_transport_subscriber_leave(
    exports_switchboard_transport_subscriber_namespace_t *namespace_) {
  bus_transport_string_free(namespace_);
}

static bool is_for_us(M(message) *message) {
  if (!message->recipient.is_some) return true;
  bus_transport_string_t *to = &message->recipient.val;
  return to->len == this_node.len && memcmp(to->ptr, this_node.ptr, to->len) == 0;
}

typedef exports_switchboard_transport_subscriber_event_t event_t;

static void lagged(event_t *event, const char *why) {
  event->tag = EXPORTS_SWITCHBOARD_TRANSPORT_SUBSCRIBER_EVENT_LAGGED;
  event->val.lagged.missed.is_some = false;
  event->val.lagged.reason = text(why);
}

/* True: the frame is an event for this server. */
static bool read_frame(switchboard_bus_bus_frame_t *frame, event_t *event) {
  codec_t reader = {.reads = true, .bytes = frame->data.ptr, .len = frame->data.len};
  event->tag = EXPORTS_SWITCHBOARD_TRANSPORT_SUBSCRIBER_EVENT_MESSAGES;
  M(run) *run = &event->val.messages.run;
  M(message) *message = run->messages.ptr = some(1, sizeof(M(message)));
  run->messages.len = 1;
  letter_t letter = {&run->namespace_, &run->sender, message, NULL};
  visit_letter(&reader, &letter);
  if (!reader.failed && is_for_us(message)) return true;
  free_attachments(&message->body);
  switchboard_transport_messages_run_free(run);
  memset(event, 0, sizeof *event);
  /* (5) A gap is said, never hidden. */
  if (reader.failed) lagged(event, "a frame could not be read");
  return reader.failed;
}

bool exports_switchboard_transport_subscriber_poll(
    uint32_t timeout_ms, uint32_t max_events,
    exports_switchboard_transport_subscriber_list_event_t *events, failure_t *failure) {
  switchboard_bus_bus_list_event_t taken;
  switchboard_bus_bus_error_t error;
  if (!switchboard_bus_bus_method_subscription_next(
          switchboard_bus_bus_borrow_subscription(subscription), timeout_ms, max_events, MAX_BYTES,
          &taken, &error)) {
    failure->tag = SWITCHBOARD_TRANSPORT_LIFECYCLE_FAILURE_UNAVAILABLE;
    failure->val.unavailable = words_of(&error);
    return false;
  }
  /* (6) Everything that was taken is returned: when this call returns, it counts as delivered. */
  events->ptr = some(taken.len, sizeof(event_t));
  events->len = 0;
  for (size_t n = 0; n < taken.len; n++) {
    event_t *event = &events->ptr[events->len];
    switch (taken.ptr[n].tag) {
      case SWITCHBOARD_BUS_BUS_EVENT_FRAME:
        events->len += read_frame(&taken.ptr[n].val.frame, event);
        break;
      case SWITCHBOARD_BUS_BUS_EVENT_LEFT:
        event->tag = EXPORTS_SWITCHBOARD_TRANSPORT_SUBSCRIBER_EVENT_NODE_LEFT;
        bus_transport_string_dup_n(&event->val.node_left, (char *)taken.ptr[n].val.left.ptr,
                                   taken.ptr[n].val.left.len);
        events->len++;
        break;
      case SWITCHBOARD_BUS_BUS_EVENT_LAGGED:
        lagged(event, "frames were missed on the bus");
        events->len++;
        break;
      default:
        break;
    }
  }
  switchboard_bus_bus_list_event_free(&taken);
  /* A list without elements has no memory to free. */
  if (events->len == 0) free(events->ptr);
  return true;
}

void exports_switchboard_transport_subscriber_close(void) {
  switchboard_bus_bus_method_subscription_close(
      switchboard_bus_bus_borrow_subscription(subscription));
}
