class HomeController < ActionController::API
  def hello
    render plain: "Hello from Rails, process #{Process.pid}\n"
  end

  def health
    render json: { status: 'ok' }
  end
end
