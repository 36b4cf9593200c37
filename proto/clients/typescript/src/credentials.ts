import { readFileSync } from "node:fs";
import { ChannelCredentials, Metadata, credentials as grpc } from "@grpc/grpc-js";
import { leavesMachine } from "./plain_text.js";

/** The caller's credentials. Without files, nothing is encrypted: for loopback only. */
export interface Credentials {
  /** PEM files: the router's certificate authority, and the caller's certificate with its key. */
  caFile?: string;
  certificateFile?: string;
  keyFile?: string;
  /** Holds the API key; it is read for each call. */
  apiKeyFile?: string;
  /** Is used instead of the file. */
  apiKey?: () => string;
  /** Whether the API key may leave this machine without TLS, for a closed network. */
  apiKeyInPlainText?: boolean;
}

function hasTls({ caFile, certificateFile }: Credentials): boolean {
  return caFile !== undefined || certificateFile !== undefined;
}

/** Throws if others could read the API key on the network to this address. */
export function checkWay(credentials: Credentials, target: string): void {
  const { apiKey, apiKeyFile, apiKeyInPlainText } = credentials;
  const hasKey = apiKey !== undefined || apiKeyFile !== undefined;
  if (hasKey && !apiKeyInPlainText && !hasTls(credentials) && leavesMachine(target)) {
    throw new TypeError(
      `${target} has no TLS, so others could read the API key on the network: name the router's ` +
        "authority in caFile, or, if the network is closed, set apiKeyInPlainText",
    );
  }
}

export function channelCredentials(credentials: Credentials): ChannelCredentials {
  if (!hasTls(credentials)) {
    return grpc.createInsecure();
  }
  const { caFile, certificateFile, keyFile } = credentials;
  const read = (file?: string) => (file === undefined ? null : readFileSync(file));
  return grpc.createSsl(read(caFile), read(keyFile), read(certificateFile));
}

export function callMetadata({ apiKey, apiKeyFile }: Credentials): Metadata {
  const metadata = new Metadata();
  const key = apiKey ? apiKey() : apiKeyFile === undefined ? undefined : readFileSync(apiKeyFile, "utf8").trim();
  if (key !== undefined) {
    metadata.set("authorization", `Bearer ${key}`);
  }
  return metadata;
}
