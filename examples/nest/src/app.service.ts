import { Injectable, Logger, OnApplicationShutdown } from '@nestjs/common';

@Injectable()
export class AppService implements OnApplicationShutdown {
  private readonly log = new Logger(AppService.name);

  hello(): string {
    return `Hello from Nest, process ${process.pid}\n`;
  }

  // Called on the polite signal, when the server takes no more requests: the place to close database connections.
  onApplicationShutdown(signal?: string): void {
    this.log.log(`${signal}: Nest finishes`);
  }
}
