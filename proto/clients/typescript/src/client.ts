/** The calls of the public API, each until its result is known or a bound is reached. */
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import type { CallOptions, ChannelOptions, Metadata, ServiceError } from "@grpc/grpc-js";
import { type Credentials, callMetadata, channelCredentials, checkWay } from "./credentials.js";
import {
  CancelRequest,
  type CancelResponse,
  InquiryType,
  OrderStatus,
  PayRequest,
  type PayResponse,
  PosServiceClient,
  QueryRequest,
  type QueryResponse,
  RefundRequest,
  type RefundResponse,
} from "./generated/twqr/pos/v1/pos.js";
import { type Failure, failureOf } from "./refusal.js";
import type { CardToken } from "./token.js";

const SUCCESS = "000";
const CANCELLED = "812";
const NO_SUCH_ORDER = "916";
const IN_PROGRESS = OrderStatus.ORDER_STATUS_IN_PROGRESS;
const PAUSE_MS_FIRST = 200;
const PAUSE_MS_MAX = 2_000;
const ASKED_PAUSE_MS_MAX = 30_000;

/** Bounds in ms. */
export interface Options {
  /** The deadline of each call; 14 s by default. */
  callMs?: number;
  /** The longest time of a method, including retries and inquiries; 60 s by default. */
  settleMs?: number;
}

/** The outcome of an order. */
export interface Result<A> {
  /** ORDER_STATUS_IN_PROGRESS: not known within the bound; call again with the same request. */
  status: OrderStatus;
  isFinal: boolean;
  /** The newest answer about the order; absent if there was none. */
  answer?: A;
  attempts: number;
  inquiries: number;
}

type Answer = { statusCode: string };
type Method<Q, A> = (
  request: Q,
  metadata: Metadata,
  options: Partial<CallOptions>,
  done: (error: ServiceError | null, answer: A) => void,
) => unknown;
type Outcome<A> = { answer: A; failure?: undefined } | { failure: Failure; answer?: undefined };

/** The request of an order, and the inquiry about it. */
interface Order<A> {
  isCancel?: boolean;
  inquiry: QueryRequest;
  success: OrderStatus;
  send: (deadline: number) => Promise<Outcome<A>>;
  /** The order in the answer of an inquiry. */
  found?: (response: QueryResponse) => A | undefined;
}

/** Calls one router at several addresses. */
export class Client {
  readonly #stubs: PosServiceClient[];
  readonly #credentials: Credentials;
  readonly #options: Required<Options>;
  #turn = 0;

  /** Throws if the API key would leave this machine without TLS. */
  constructor(targets: string[], credentials: Credentials = {}, options: Options = {}) {
    for (const target of targets) {
      checkWay(credentials, target);
    }
    const config = readFileSync(new URL("generated/service-config.json", import.meta.url), "utf8");
    const channel = channelCredentials(credentials);
    const arguments_: ChannelOptions = { "grpc.service_config": config };
    this.#stubs = targets.map((target) => new PosServiceClient(target, channel, arguments_));
    this.#credentials = credentials;
    this.#options = { callMs: 14_000, settleMs: 60_000, ...options };
  }

  close(): void {
    for (const stub of this.#stubs) {
      stub.close();
    }
  }

  /** The generated stub, for calls that this client does not wrap. It retries UNAVAILABLE. */
  get stub(): PosServiceClient {
    const stub = this.#stubs[this.#turn % this.#stubs.length];
    if (!stub) {
      throw new Error("no address is given");
    }
    return stub;
  }

  /**
   * Sends one payment. The card token is separate, so that the request may be logged. Throws
   * Refused if nothing was accepted and the same request cannot succeed.
   */
  async pay(request: Partial<Omit<PayRequest, "cardToken">>, token: CardToken): Promise<Result<PayResponse>> {
    const sent = PayRequest.fromPartial({ ...withoutToken(request), cardToken: token.reveal() });
    return this.#settle({
      inquiry: inquiry(InquiryType.INQUIRY_TYPE_PAYMENT, sent),
      success: OrderStatus.ORDER_STATUS_PAID,
      send: (deadline) => this.#try((stub) => stub.pay.bind(stub), sent, deadline),
      found: (response) => response.payment,
    });
  }

  /** Sends one refund, which has its own number. Throws Refused like pay. */
  refund(request: Partial<RefundRequest>): Promise<Result<RefundResponse>> {
    const sent = RefundRequest.fromPartial(request);
    return this.#settle({
      inquiry: inquiry(InquiryType.INQUIRY_TYPE_REFUND, sent),
      success: OrderStatus.ORDER_STATUS_REFUND_SUCCEEDED,
      send: (deadline) => this.#try((stub) => stub.refund.bind(stub), sent, deadline),
      found: (response) => response.refund,
    });
  }

  /**
   * Cancels a payment: sends the cancel again until it has a result. A cancelled payment has the
   * status FULLY_REFUNDED, and one that never was FAILED. Throws Refused like pay.
   */
  async cancel(request: Partial<Omit<CancelRequest, "cardToken">>, token: CardToken): Promise<Result<CancelResponse>> {
    const sent = CancelRequest.fromPartial({ ...withoutToken(request), cardToken: token.reveal() });
    return this.#settle({
      isCancel: true,
      inquiry: inquiry(InquiryType.INQUIRY_TYPE_PAYMENT, sent),
      success: OrderStatus.ORDER_STATUS_FULLY_REFUNDED,
      send: (deadline) => this.#try((stub) => stub.cancel.bind(stub), sent, deadline),
    });
  }

  /** Inquires once; throws the error of the call. */
  query(request: Partial<QueryRequest>): Promise<QueryResponse> {
    const deadline = Date.now() + this.#options.callMs;
    return this.#call((stub) => stub.query.bind(stub), QueryRequest.fromPartial(request), deadline);
  }

  #call<Q, A>(method: (stub: PosServiceClient) => Method<Q, A>, request: Q, deadline: number): Promise<A> {
    const metadata = callMetadata(this.#credentials);
    return new Promise((resolve, reject) => {
      const done = (error: ServiceError | null, answer: A) => (error ? reject(error) : resolve(answer));
      method(this.stub)(request, metadata, { deadline }, done);
    });
  }

  /** After a failure the next call goes to the next address. */
  async #try<Q, A>(
    method: (stub: PosServiceClient) => Method<Q, A>,
    request: Q,
    until: number,
  ): Promise<Outcome<A>> {
    try {
      const deadline = Math.min(until, Date.now() + this.#options.callMs);
      return { answer: await this.#call(method, request, deadline) };
    } catch (error) {
      if (!isServiceError(error)) {
        throw error;
      }
      this.#turn += 1;
      return { failure: failureOf(error) };
    }
  }

  async #settle<A extends Answer>(order: Order<A>): Promise<Result<A>> {
    const until = Date.now() + this.#options.settleMs;
    const wait = pauses(until);
    const result: Result<A> = { status: IN_PROGRESS, isFinal: false, attempts: 0, inquiries: 0 };
    const end = (status: OrderStatus) => ({ ...result, status, isFinal: status !== IN_PROGRESS });
    let mayBeAccepted = false;
    for (;;) {
      result.attempts += 1;
      const { answer, failure } = await order.send(until);
      if (failure) {
        if (failure.isRefusal && !failure.isRetryable && !mayBeAccepted) {
          throw failure.refused;
        }
        mayBeAccepted ||= !failure.isRefusal;
        if (!(await wait(failure.delayMs))) {
          return end(IN_PROGRESS);
        }
        if (!mayBeAccepted) {
          continue;
        }
      } else {
        mayBeAccepted = true;
        result.answer = answer;
        if (answer.statusCode === SUCCESS) {
          return end(order.success);
        }
        if (order.isCancel && answer.statusCode === NO_SUCH_ORDER) {
          return end(OrderStatus.ORDER_STATUS_FAILED);
        }
      }
      const status = await this.#inquire(order, result, until, wait, answer?.statusCode === CANCELLED);
      // A cancel without an answer may not have arrived, whatever the payment's state is.
      const mustRepeat = order.isCancel && failure && status !== order.success;
      if (status !== undefined && !mustRepeat) {
        return end(status);
      }
      if (!(await wait())) {
        return end(IN_PROGRESS);
      }
    }
  }

  /**
   * Inquires until the state is final or the bound is reached; absent if no order was accepted,
   * which may still happen.
   */
  async #inquire<A extends Answer>(
    order: Order<A>,
    result: Result<A>,
    until: number,
    wait: Wait,
    isCancelled: boolean,
  ): Promise<OrderStatus | undefined> {
    for (;;) {
      result.inquiries += 1;
      const { answer, failure } = await this.#try((stub) => stub.query.bind(stub), order.inquiry, until);
      if (answer?.statusCode === NO_SUCH_ORDER) {
        return isCancelled ? OrderStatus.ORDER_STATUS_FAILED : undefined;
      }
      if (answer?.orderStatus !== undefined) {
        result.answer = order.found?.(answer) ?? result.answer;
        if (answer.orderStatus !== IN_PROGRESS) {
          return answer.orderStatus;
        }
      }
      if (!(await wait(failure?.delayMs))) {
        return IN_PROGRESS;
      }
    }
  }
}

/** Waits before the next call; false if the bound is reached first. */
type Wait = (askedMs?: number) => Promise<boolean>;

function pauses(until: number): Wait {
  let pauseMs = PAUSE_MS_FIRST;
  return async (askedMs = 0) => {
    const ms = Math.min(askedMs, ASKED_PAUSE_MS_MAX) + pauseMs * (0.5 + Math.random() / 2);
    pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
    await sleep(Math.max(Math.min(ms, until - Date.now()), 0));
    return Date.now() < until;
  };
}

function inquiry(inquiryType: InquiryType, order: { merchantId: string; merchantTradeNo: string }): QueryRequest {
  const { merchantId, merchantTradeNo } = order;
  return QueryRequest.fromPartial({ inquiryType, merchantId, merchantTradeNo });
}

function withoutToken<Q extends object>(request: Q): Q {
  if ("cardToken" in request && request.cardToken) {
    throw new TypeError("cardToken: leave it empty in the request, and give a CardToken");
  }
  return request;
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && "details" in error;
}
