/**
 * What the controller told last, of each kind, over one stream of server-sent events.
 *
 * Owns: the stream, whether it is there, and the last events. Its one rule: nothing is done while the tab is hidden: handlers
 * hear of the last document once it is seen again, and after a while the stream is closed, which costs the controller nothing.
 */

import { address } from "./ask.js";

const KINDS = ["serving", "fleet", "activity", "status", "models", "event"];
const MOST_EVENTS = 1000;
const SILENCE_MS = 45_000;
const HIDDEN_MS = 30_000;
const RETRY_MS = 2000;

class Store {
  #values = new Map();
  #handlers = new Map();
  #late = new Set();
  #events = new Map();
  #source = null;
  #timer = 0;
  #hiddenTimer = 0;
  #started = false;

  /** Whether the stream is there now. */
  connected = false;
  /** When the controller was heard last. [ms since the epoch] */
  heardMs = 0;
  /** Called when the controller refuses the stream: the session may have ended. Set by the shell. */
  refused = async () => undefined;

  /**
   * The last document of a kind, or undefined before there was one; of `event` the list of those held, oldest first. `connection`
   * is true or false.
   */
  get(kind) {
    return kind === "connection" ? this.connected : this.#values.get(kind);
  }

  /** Hear of changes of a kind. @returns {() => void} what ends that */
  on(kind, handler) {
    const handlers = this.#handlers.get(kind) ?? new Set();
    this.#handlers.set(kind, handlers.add(handler));
    return () => handlers.delete(handler);
  }

  /** Hear of a kind now, if anything is known, and of its changes, until a signal says that nobody looks any more. */
  watch(kind, handler, signal) {
    if (signal?.aborted) return;
    const off = this.on(kind, handler);
    signal?.addEventListener("abort", off);
    const value = this.get(kind);
    if (value !== undefined) handler(value);
  }

  /** Connect, and follow whether the tab is seen. */
  start() {
    if (this.#started) return;
    this.#started = true;
    document.addEventListener("visibilitychange", () => this.#seen());
    this.#open();
  }

  /** Disconnect; nothing tries again until `start`. */
  stop() {
    this.#started = false;
    this.#close();
    this.#setConnected(false);
  }

  /** Take in a document; for tests, too. */
  take(kind, value, identifier = "") {
    this.heardMs = Date.now();
    if (kind === "serving") {
      const known = this.#values.get("serving");
      if (known && known.controller_instance !== value.controller_instance) this.#events.clear();
    }
    if (kind === "event") {
      const key = identifier || `${value.at_unix_s} ${value.origin} ${value.kind} ${value.text}`;
      if (this.#events.has(key)) return;
      this.#events.set(key, value);
      if (this.#events.size > MOST_EVENTS) this.#events.delete(this.#events.keys().next().value);
      this.#values.set("event", null);
    } else {
      this.#values.set(kind, value);
    }
    this.#late.add(kind);
    // Of the many events at a connection, handlers hear at once.
    if (!document.hidden) queueMicrotask(() => this.#flush());
  }

  #flush() {
    if (document.hidden) return;
    for (const kind of [...this.#late]) {
      this.#late.delete(kind);
      if (kind === "event") this.#values.set("event", [...this.#events.values()]);
      this.#tell(kind);
    }
  }

  #tell(kind) {
    const value = this.get(kind);
    for (const handler of [...(this.#handlers.get(kind) ?? [])]) {
      try {
        handler(value);
      } catch (error) {
        // One part that cannot draw a document must not keep others from it.
        console.error(error);
      }
    }
  }

  #open() {
    this.#close();
    const source = new EventSource(address("api/stream"));
    this.#source = source;
    source.onopen = () => this.#setConnected(true);
    source.onerror = () => this.#failed(source);
    for (const kind of KINDS) {
      source.addEventListener(kind, (message) => {
        this.#watchSilence();
        this.take(kind, JSON.parse(message.data), message.lastEventId);
      });
    }
    this.#watchSilence();
  }

  #failed(source) {
    if (source !== this.#source) return;
    this.#setConnected(false);
    // The browser tries again by itself unless it was refused.
    if (source.readyState !== EventSource.CLOSED) return;
    this.#close();
    this.refused().finally(() => this.#again(RETRY_MS));
  }

  #again(afterMs) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#started && !document.hidden && this.#open(), afterMs);
  }

  /** A connection that broke without a word, as after a computer's sleep, is noticed by what does not come. */
  #watchSilence() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#setConnected(false);
      if (this.#started && !document.hidden) this.#open();
    }, SILENCE_MS);
  }

  #seen() {
    clearTimeout(this.#hiddenTimer);
    if (document.hidden) {
      this.#hiddenTimer = setTimeout(() => this.#close(), HIDDEN_MS);
      return;
    }
    if (this.#started && !this.#source) this.#open();
    this.#flush();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #setConnected(connected) {
    if (this.connected === connected) return;
    this.connected = connected;
    if (connected) this.heardMs = Date.now();
    this.#tell("connection");
  }
}

export const store = new Store();
