import { readFileSync } from "node:fs";
import { ChannelCredentials, Metadata, credentials as grpc } from "@grpc/grpc-js";

/** Who calls. Without files the connection is not encrypted, which is for loopback only. */
export interface Credentials {
  /** PEM files: the authority of the router, and the caller's certificate with its key. */
  caFile?: string;
  certificateFile?: string;
  keyFile?: string;
  /** Holds the API key; it is read for each call. */
  apiKeyFile?: string;
  /** Is used instead of the file. */
  apiKey?: () => string;
}

export function channelCredentials({ caFile, certificateFile, keyFile }: Credentials): ChannelCredentials {
  if (caFile === undefined && certificateFile === undefined) {
    return grpc.createInsecure();
  }
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
