import { Controller, Get } from '@nestjs/common';
import { AppService } from './app.service.js';

@Controller()
export class AppController {
  constructor(private readonly app: AppService) {}

  @Get()
  hello(): string {
    return this.app.hello();
  }

  @Get('health')
  health(): { status: string } {
    return { status: 'ok' };
  }
}
